"""When a step is one that has been done before: equal component, equal inputs, equal settings.

https://learn.microsoft.com/azure/machine-learning/how-to-manage-inputs-outputs-pipeline and
https://learn.microsoft.com/azure/machine-learning/reference-yaml-component-command (`is_deterministic`) say that steps
are taken over, and not by which comparison. What lies behind a uri is not looked at.
"""

from collections.abc import Mapping
from typing import Any

from phi_assets.emulator.runner.pipeline.graph import Literal, Step, StepOutput, Uri
from phi_assets.fingerprint import fingerprint

_NOT_COMPARED = {"name", "version", "display_name", "description", "tags"}


def step_identity(step: Step, makers: Mapping[str, str]) -> str | None:
    """Equal for steps of which the second takes over what the first has written; None where the component does not say
    that it is deterministic. `makers` are the runs that have made the outputs of earlier steps, by the steps' keys.
    """
    if str(step.component.spec.get("is_deterministic", False)).lower() != "true":
        return None
    spec = {key: value for key, value in step.component.spec.items() if key not in _NOT_COMPARED}
    return fingerprint(
        {
            "component": spec if step.component.registry is None else step.component.id,
            "inputs": {name: _identity(binding, makers) for name, binding in step.inputs.items()},
            "compute": step.compute,
            "environment": dict(step.environment),
            "nodes": step.nodes,
        }
    )


def _identity(binding: Any, makers: Mapping[str, str]) -> list[str]:
    if isinstance(binding, StepOutput):
        return ["output", makers[binding.step], binding.output]
    if isinstance(binding, Uri):
        return ["uri", binding.uri, binding.type]
    assert isinstance(binding, Literal)
    return ["literal", binding.text]
