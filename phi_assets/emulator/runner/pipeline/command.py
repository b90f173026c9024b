"""A single command job as a graph of one step, which is the job itself."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from phi_assets.emulator.runner.pipeline import values
from phi_assets.emulator.runner.pipeline.distribution import processes_per_node
from phi_assets.emulator.runner.pipeline.graph import (
    SERVERLESS,
    Binding,
    Component,
    Graph,
    Place,
    Resources,
    Step,
    StepOutput,
    Uri,
)
from phi_assets.emulator.runner.pipeline.nodes import given, section
from phi_assets.emulator.runner.pipeline.substitution import command_names
from phi_assets.emulator.wire.errors import user_error

_INVALID = "BadArgument/ArgumentInvalid"
_KEY = "command"
_JOB = "the job"
_DURATION = TypeAdapter(timedelta)


def command_graph(properties: Mapping[str, Any], resources: Resources) -> Graph:
    """The graph of a command job from the properties of its PUT body.

    Raises:
        ServiceError: naming the input, output, code, environment, compute or asset that is wrong.
    """
    command = str(properties.get("command") or "")
    inputs: dict[str, Binding] = {}
    for name, value in section(properties, "inputs", _JOB).items():
        if value is not None:
            inputs[name] = given(value, f"Input '{name}' of the job")
            _check(inputs[name], f"Input '{name}' of the job", resources)
    outputs = {
        name: Place(str((value or {}).get("jobOutputType") or "uri_folder").lower(), name)
        for name, value in section(properties, "outputs", _JOB).items()
    }
    _check_names(command, inputs, outputs)
    if not properties.get("environmentId"):
        raise user_error("The job has no environment.", _INVALID)
    resources.check_environment(properties["environmentId"], "The job")
    code = properties.get("codeId")
    wanted = section(properties, "resources", _JOB).get("instanceCount")
    nodes = values.count(1 if wanted is None else wanted, "The instance count of the job")
    step = Step(
        key=_KEY,
        name=str(properties.get("displayName") or _KEY),
        group=None,
        component=Component(
            id=str(properties.get("componentId") or ""),
            name=_KEY,
            version="",
            spec={"command": command},
            code=resources.code(code, "The job") if code else None,
        ),
        inputs=inputs,
        outputs=outputs,
        compute=resources.check_compute(str(properties.get("computeId") or SERVERLESS), "The job"),
        environment=_texts(section(properties, "environmentVariables", _JOB)),
        nodes=nodes,
        processes_per_node=processes_per_node(section(properties, "distribution", _JOB), nodes, _JOB),
        most_seconds=_timeout(section(properties, "limits", _JOB).get("timeout")),
    )
    written = {name: StepOutput(_KEY, name) for name in outputs}
    return Graph(steps=(step,), groups={}, outputs=written, is_single=True)


def _check(binding: Binding, where: str, resources: Resources) -> None:
    if isinstance(binding, Uri):
        resources.check_uri(binding.uri, binding.type, where)


def _check_names(command: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    used_inputs, used_outputs = command_names(command)
    missing = sorted({f"inputs.{name}" for name in used_inputs - inputs.keys()})
    missing += sorted({f"outputs.{name}" for name in used_outputs - outputs.keys()})
    if missing:
        raise user_error(f"The command refers to {', '.join(missing)}, which the job does not have.", _INVALID)


def _timeout(text: Any) -> float | None:
    if text is None:
        return None
    try:
        seconds = _DURATION.validate_python(text).total_seconds() if isinstance(text, str) else 0
    except ValidationError:
        seconds = 0
    if seconds <= 0:
        raise user_error(f"limits.timeout '{text}' of the job is not an ISO 8601 duration such as PT30M.", _INVALID)
    return seconds


def _texts(variables: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in variables.items() if value is not None}
