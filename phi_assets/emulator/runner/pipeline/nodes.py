"""How the nodes of a pipeline are written down: inputs, outputs and order, in the REST form and in YAML."""

from collections.abc import Mapping
from typing import Any

from phi_assets.emulator.runner.pipeline import values
from phi_assets.emulator.runner.pipeline.graph import Literal, Uri
from phi_assets.emulator.runner.pipeline.substitution import references, sole_reference
from phi_assets.emulator.wire.errors import user_error

_INVALID = "BadArgument/ArgumentInvalid"


def section(owner: Mapping[str, Any], name: str, title: str) -> Mapping[str, Any]:
    """The object `name` of a job or node; empty if it has none. Raises ServiceError 400 if it is something else."""
    value = owner.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise user_error(f"'{name}' of {title} must be an object.", _INVALID)
    return value


def given(value: Any, where: str) -> Literal | Uri:
    """An input in any of its forms: a YAML scalar, or a mapping of the REST form or of YAML."""
    if not isinstance(value, Mapping):
        return Literal(values.wire_text(value))
    kind = str(value.get("job_input_type") or value.get("jobInputType") or value.get("type") or "literal").lower()
    if kind == "literal":
        if value.get("value") is None:
            raise user_error(f"{where} is a literal without a value.", _INVALID)
        return Literal(values.wire_text(value["value"]))
    uri = value.get("uri") or value.get("path") or value.get("value")
    if kind not in values.ASSET_TYPES or not isinstance(uri, str):
        raise user_error(f"{where} is of type '{kind}' but has no uri, or the type does not exist.", _INVALID)
    return Uri(uri, kind)


def output_targets(node: Mapping[str, Any]) -> dict[str, str]:
    """Which output of the pipeline each output of the node is bound to."""
    targets: dict[str, str] = {}
    for name, value in section(node, "outputs", "a node").items():
        text = value.get("value") or value.get("path") if isinstance(value, Mapping) else value
        reference = sole_reference(str(text)) if text else None
        if reference is not None and reference.output is not None:
            targets[name] = reference.output
    return targets


def in_order(nodes: Mapping[str, Any], title: str) -> list[str]:
    """The nodes' names so that each comes after those whose outputs it reads, else in the given order."""
    waiting = {name: _siblings(node) & nodes.keys() for name, node in nodes.items()}
    order: list[str] = []
    while waiting:
        ready = [name for name, needs in waiting.items() if needs <= set(order)]
        if not ready:
            raise user_error(f"The nodes {', '.join(sorted(waiting))} of {title} wait for each other.", _INVALID)
        order.append(ready[0])
        del waiting[ready[0]]
    return order


def _siblings(node: Any) -> set[str]:
    if not isinstance(node, Mapping):
        raise user_error("A node of a pipeline job must be an object.", _INVALID)
    found: set[str] = set()
    for name, value in node_inputs(node):
        binding = given(value, f"Input '{name}'")
        text = binding.text if isinstance(binding, Literal) else binding.uri
        found |= {reference.node for reference in references(text) if reference.node is not None}
    return found


def node_inputs(node: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The inputs that the node gives a value to."""
    return [(name, value) for name, value in section(node, "inputs", "a node").items() if value is not None]
