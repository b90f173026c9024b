"""From the body of a pipeline job to its graph: components resolved, inputs bound and checked, steps in order."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phi_assets.emulator.catalog import Asset
from phi_assets.emulator.errors import ServiceError, user_error
from phi_assets.emulator.runner import values
from phi_assets.emulator.runner.graph import (
    SERVERLESS,
    Binding,
    Graph,
    Group,
    Literal,
    Place,
    Resources,
    Step,
    StepOutput,
    Uri,
)
from phi_assets.emulator.runner.substitution import (
    Reference,
    command_names,
    references,
    sole_reference,
    split,
    substitute,
)

_INVALID = "BadArgument/ArgumentInvalid"
_NODE_NAME = re.compile(r"[A-Za-z_][\w-]*")
_DEEPEST = 10


def resolve(properties: Mapping[str, Any], resources: Resources) -> Graph:
    """The graph of a pipeline job from the properties of its PUT body.

    Raises:
        ServiceError: naming the node and the input, output, component, compute or asset that is wrong.
    """
    return _Resolver(resources, properties).graph()


@dataclass
class _Scope:
    """What the nodes of one pipeline (the job, or a pipeline component) can refer to."""

    inputs: Mapping[str, Binding]
    declared: set[str]
    outputs: Mapping[str, str | None]
    compute: str | None
    registry: str | None
    group: str | None
    prefix: str
    title: str


class _Resolver:
    def __init__(self, resources: Resources, properties: Mapping[str, Any]):
        self._resources = resources
        self._properties = properties
        self._steps: list[Step] = []
        self._groups: dict[str, Group] = {}

    def graph(self) -> Graph:
        properties = self._properties
        outputs = {name: name for name in properties.get("outputs") or {}}
        default_compute = properties.get("computeId") or (properties.get("settings") or {}).get("default_compute")
        compute = self._resources.check_compute(default_compute, "The job") if default_compute else None
        nodes = dict(properties.get("jobs") or {})
        given = {
            name: self._root_input(name, value)
            for name, value in (properties.get("inputs") or {}).items()
            if value is not None
        }
        if not nodes and properties.get("componentId"):
            # A pipeline component that was submitted as the job itself.
            nodes = {"pipeline": self._as_node(properties, given, outputs)}
        if not nodes:
            raise user_error("The pipeline job has no nodes: 'jobs' is empty.", _INVALID)
        scope = _Scope(given, set(given), outputs, compute, None, None, "", "the job")
        produced = self._expand(nodes, scope)
        missing = sorted(outputs.keys() - produced.keys())
        if missing:
            raise user_error(f"No node of the job writes its output {', '.join(missing)}.", _INVALID)
        return Graph(
            steps=tuple(self._steps),
            groups=self._groups,
            outputs=produced,
            continue_on_failure=_truthy((properties.get("settings") or {}).get("continue_on_step_failure")),
        )

    @staticmethod
    def _as_node(properties: Mapping[str, Any], given: Iterable[str], outputs: Iterable[str]) -> dict[str, Any]:
        return {
            "componentId": properties["componentId"],
            "inputs": {name: f"${{{{parent.inputs.{name}}}}}" for name in given},
            "outputs": {name: f"${{{{parent.outputs.{name}}}}}" for name in outputs},
        }

    def _root_input(self, name: str, value: Any) -> Binding:
        where = f"Input '{name}' of the job"
        binding = _given(value, where)
        if isinstance(binding, Uri):
            self._resources.check_uri(binding.uri, binding.type, where)
        return binding

    def _expand(self, nodes: Mapping[str, Any], scope: _Scope) -> dict[str, StepOutput]:
        """Adds the nodes' steps and returns which of them writes which output of the scope."""
        written: dict[str, StepOutput] = {}
        produced: dict[str, dict[str, StepOutput]] = {}
        for name in _in_order(nodes, scope.title):
            produced[name] = self._node(name, nodes[name], scope, produced)
            for output, target in _output_targets(nodes[name]).items():
                if output not in produced[name]:
                    raise user_error(f"No step of node '{name}' writes its output '{output}'.", _INVALID)
                if target not in scope.outputs:
                    raise user_error(
                        f"Node '{name}' writes to output '{target}', which {scope.title} does not declare.", _INVALID
                    )
                written[target] = produced[name][output]
        return written

    def _node(
        self, name: str, node: Mapping[str, Any], scope: _Scope, produced: Mapping[str, Mapping[str, StepOutput]]
    ) -> dict[str, StepOutput]:
        if not _NODE_NAME.fullmatch(name):
            raise user_error(f"'{name}' is not a valid node name.", _INVALID)
        reference = node.get("componentId") or node.get("component")
        if not isinstance(reference, str):
            raise user_error(f"Node '{name}' of {scope.title} names no component.", _INVALID)
        component = self._resources.component(reference, scope.registry)
        title = f"node '{name}' ({component.name}:{component.version})"
        inputs = self._inputs(node, component, scope, produced, title)
        targets = _output_targets(node)
        declared = component.spec.get("outputs") or {}
        for output in targets:
            if output not in declared:
                raise user_error(
                    f"{_sentence(title)} has no output '{output}'; it has: {', '.join(declared)}.", _INVALID
                )
        key = f"{scope.prefix}{name}"
        kind = str(component.spec.get("type", "command")).lower()
        if kind == "pipeline":
            return self._pipeline(key, name, component, inputs, targets, scope, title)
        if kind != "command":
            raise user_error(
                f"{_sentence(title)} is of type '{kind}'; here pipelines run command components.", _INVALID
            )
        compute = self._compute(node, scope, title)
        self._steps.append(self._step(key, name, node, component, inputs, targets, scope, compute))
        return {output: StepOutput(key, output) for output in declared}

    def _pipeline(
        self,
        key: str,
        name: str,
        component: Asset,
        inputs: Mapping[str, Binding],
        targets: Mapping[str, str],
        scope: _Scope,
        title: str,
    ) -> dict[str, StepOutput]:
        if key.count("/") >= _DEEPEST:
            raise user_error(f"{_sentence(title)} is nested more than {_DEEPEST} pipelines deep.", _INVALID)
        self._groups[key] = Group(key, name, scope.group, component, inputs)
        declared = component.spec.get("outputs") or {}
        inner = _Scope(
            inputs=inputs,
            declared=set(component.spec.get("inputs") or {}),
            outputs={output: scope.outputs.get(targets[output]) if output in targets else None for output in declared},
            compute=scope.compute,
            registry=component.registry,
            group=key,
            prefix=f"{key}/",
            title=title,
        )
        return self._expand(component.spec.get("jobs") or {}, inner)

    def _step(
        self,
        key: str,
        name: str,
        node: Mapping[str, Any],
        component: Asset,
        inputs: Mapping[str, Binding],
        targets: Mapping[str, str],
        scope: _Scope,
        compute: str,
    ) -> Step:
        declared = component.spec.get("outputs") or {}
        command = str(component.spec.get("command", ""))
        split(command)
        used_inputs, used_outputs = command_names(command)
        undeclared = sorted((used_inputs - set(component.spec.get("inputs") or {})) | (used_outputs - set(declared)))
        if undeclared:
            raise user_error(
                f"The command of {component.id} refers to undeclared names: {', '.join(undeclared)}.", _INVALID
            )
        return Step(
            key=key,
            name=name,
            group=scope.group,
            component=component,
            inputs=inputs,
            outputs={
                output: Place(
                    type=str((declaration or {}).get("type", "uri_folder")).lower(),
                    job_output=scope.outputs.get(targets[output]) if output in targets else None,
                )
                for output, declaration in declared.items()
            },
            compute=compute,
            environment={str(k): str(v) for k, v in (node.get("environment_variables") or {}).items()},
        )

    def _inputs(
        self,
        node: Mapping[str, Any],
        component: Asset,
        scope: _Scope,
        produced: Mapping[str, Mapping[str, StepOutput]],
        title: str,
    ) -> dict[str, Binding]:
        declared: Mapping[str, Mapping[str, Any]] = component.spec.get("inputs") or {}
        bound: dict[str, Binding] = {}
        for name, value in _node_inputs(node):
            if name not in declared:
                raise values.unknown_name(name, declared, _sentence(title))
            where = f"Input '{name}' of {title}"
            binding = self._bind(value, scope, produced, where)
            if binding is not None:
                bound[name] = self._fit(binding, declared[name], where)
        for name, declaration in declared.items():
            if name in bound:
                continue
            where = f"Input '{name}' of {title}"
            if declaration.get("default") is not None:
                bound[name] = self._fit(Literal(values.wire_text(declaration["default"])), declaration, where)
            elif not values.is_optional(declaration):
                raise user_error(f"{where} is required and has no value.", "BadArgument/MissingInput")
        for name, binding in bound.items():
            # The component decides on compute by such inputs, also where no node of it uses them any more.
            if name.startswith("compute_") and isinstance(binding, Literal):
                self._resources.check_compute(binding.text, f"Input '{name}' of {title}")
        return bound

    def _bind(
        self, value: Any, scope: _Scope, produced: Mapping[str, Mapping[str, StepOutput]], where: str
    ) -> Binding | None:
        binding = _given(value, where)
        text = binding.text if isinstance(binding, Literal) else binding.uri if isinstance(binding, Uri) else ""
        reference = sole_reference(text)
        if reference is not None:
            return self._follow(reference, scope, produced, where)

        def literal(part: Reference) -> str:
            target = self._follow(part, scope, produced, where)
            if not isinstance(target, Literal):
                raise user_error(
                    f"{where} builds text from '{text}', where only literals with a value can stand.", _INVALID
                )
            return target.text

        text = substitute(text, literal)
        return Literal(text) if isinstance(binding, Literal) else Uri(text, binding.type)  # type: ignore[union-attr]

    @staticmethod
    def _follow(
        reference: Reference, scope: _Scope, produced: Mapping[str, Mapping[str, StepOutput]], where: str
    ) -> Binding | None:
        if reference.input is not None:
            if reference.input not in scope.declared:
                raise user_error(
                    f"{where} refers to input '{reference.input}', which {scope.title} does not have.", _INVALID
                )
            return scope.inputs.get(reference.input)
        if reference.node is not None:
            output = produced.get(reference.node, {}).get(str(reference.of))
            if output is not None:
                return output
            raise user_error(
                f"{where} refers to output '{reference.of}' of node '{reference.node}', which does not exist.", _INVALID
            )
        raise user_error(f"{where} refers to an output of its own pipeline.", _INVALID)

    def _fit(self, binding: Binding, declaration: Mapping[str, Any], where: str) -> Binding:
        """The binding as the declared type wants it."""
        kind = values.declared_type(declaration)
        if not values.is_asset(declaration):
            if not isinstance(binding, Literal):
                raise user_error(f"{where} is of type {kind} and must be a literal, not data or a model.", _INVALID)
            return Literal(values.checked(binding.text, declaration, where))
        if isinstance(binding, Literal):
            # An asset id may come as plain text, for example through a literal input of the pipeline.
            binding = Uri(binding.text, kind)
        if isinstance(binding, Uri):
            self._resources.check_uri(binding.uri, kind, where)
        return binding

    def _compute(self, node: Mapping[str, Any], scope: _Scope, title: str) -> str:
        text = str(node.get("computeId") or node.get("compute") or "")
        reference = sole_reference(text)
        if reference is not None:
            target = self._follow(reference, scope, {}, f"The compute of {title}")
            text = target.text if isinstance(target, Literal) else ""
        return self._resources.check_compute(text or scope.compute or SERVERLESS, _sentence(title))


def _given(value: Any, where: str) -> Literal | Uri:
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


def _output_targets(node: Mapping[str, Any]) -> dict[str, str]:
    """Which output of the pipeline each output of the node is bound to."""
    targets: dict[str, str] = {}
    for name, value in (node.get("outputs") or {}).items():
        text = value.get("value") or value.get("path") if isinstance(value, Mapping) else value
        reference = sole_reference(str(text)) if text else None
        if reference is not None and reference.output is not None:
            targets[name] = reference.output
    return targets


def _in_order(nodes: Mapping[str, Any], title: str) -> list[str]:
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
        raise ServiceError(400, "UserError", "A node of a pipeline job must be an object.")
    found: set[str] = set()
    for name, value in _node_inputs(node):
        binding = _given(value, f"Input '{name}'")
        text = binding.text if isinstance(binding, Literal) else binding.uri
        found |= {reference.node for reference in references(text) if reference.node is not None}
    return found


def _truthy(value: Any) -> bool:
    return str(value).lower() == "true"


def _node_inputs(node: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in (node.get("inputs") or {}).items() if value is not None]


def _sentence(title: str) -> str:
    return title[0].upper() + title[1:]
