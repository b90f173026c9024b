"""From the body of a pipeline job to its graph: components resolved, inputs bound and checked, steps in order."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phi_assets.emulator.runner.pipeline import values
from phi_assets.emulator.runner.pipeline.distribution import processes_per_node
from phi_assets.emulator.runner.pipeline.graph import (
    SERVERLESS,
    Binding,
    Component,
    Graph,
    Group,
    Literal,
    Place,
    Resources,
    Step,
    StepOutput,
    Uri,
)
from phi_assets.emulator.runner.pipeline.nodes import given, in_order, node_inputs, output_targets, section
from phi_assets.emulator.runner.pipeline.substitution import Reference, command_names, sole_reference, substitute
from phi_assets.emulator.wire.errors import user_error

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


@dataclass(frozen=True)
class _Node:
    """A node with its component and inputs; `targets` says to which output of its pipeline each of its outputs goes."""

    key: str
    name: str
    body: Mapping[str, Any]
    component: Component
    inputs: Mapping[str, Binding]
    targets: Mapping[str, str]
    title: str

    @property
    def declared_outputs(self) -> Mapping[str, Any]:
        return self.component.spec.get("outputs") or {}

    def job_output(self, output: str, scope: _Scope) -> str | None:
        """The output of the job that this output of the node becomes, if any."""
        return scope.outputs.get(self.targets[output]) if output in self.targets else None


class _Resolver:
    def __init__(self, resources: Resources, properties: Mapping[str, Any]):
        self._resources = resources
        self._properties = properties
        self._steps: list[Step] = []
        self._groups: dict[str, Group] = {}

    def graph(self) -> Graph:
        properties = self._properties
        settings = section(properties, "settings", "the job")
        outputs = {name: name for name in section(properties, "outputs", "the job")}
        default_compute = properties.get("computeId") or settings.get("default_compute")
        compute = self._resources.check_compute(default_compute, "The job") if default_compute else None
        nodes = dict(section(properties, "jobs", "the job"))
        inputs = {
            name: self._root_input(name, value)
            for name, value in section(properties, "inputs", "the job").items()
            if value is not None
        }
        if not nodes and properties.get("componentId"):
            # A pipeline component that was submitted as the job itself.
            nodes = {"pipeline": self._as_node(properties, inputs, outputs)}
        if not nodes:
            raise user_error("The pipeline job has no nodes: 'jobs' is empty.", _INVALID)
        scope = _Scope(inputs, set(inputs), outputs, compute, None, None, "", "the job")
        produced = self._expand(nodes, scope)
        missing = sorted(outputs.keys() - produced.keys())
        if missing:
            raise user_error(f"No node of the job writes its output {', '.join(missing)}.", _INVALID)
        return Graph(
            steps=tuple(self._steps),
            groups=self._groups,
            outputs=produced,
            continue_on_failure=_truthy(settings.get("continue_on_step_failure")),
        )

    @staticmethod
    def _as_node(properties: Mapping[str, Any], inputs: Iterable[str], outputs: Iterable[str]) -> dict[str, Any]:
        return {
            "componentId": properties["componentId"],
            "inputs": {name: f"${{{{parent.inputs.{name}}}}}" for name in inputs},
            "outputs": {name: f"${{{{parent.outputs.{name}}}}}" for name in outputs},
        }

    def _root_input(self, name: str, value: Any) -> Binding:
        where = f"Input '{name}' of the job"
        binding = given(value, where)
        if isinstance(binding, Uri):
            self._resources.check_uri(binding.uri, binding.type, where)
        return binding

    def _expand(self, nodes: Mapping[str, Any], scope: _Scope) -> dict[str, StepOutput]:
        """Adds the nodes' steps and returns which of them writes which output of the scope."""
        written: dict[str, StepOutput] = {}
        produced: dict[str, dict[str, StepOutput]] = {}
        for name in in_order(nodes, scope.title):
            produced[name] = self._node(name, nodes[name], scope, produced)
            for output, target in output_targets(nodes[name]).items():
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
        resolved = _Node(
            key=f"{scope.prefix}{name}",
            name=name,
            body=node,
            component=component,
            inputs=self._inputs(node, component, scope, produced, title),
            targets=output_targets(node),
            title=title,
        )
        unknown = sorted(resolved.targets.keys() - resolved.declared_outputs.keys())
        if unknown:
            has = ", ".join(resolved.declared_outputs) or "none"
            raise user_error(f"{_sentence(title)} has no output '{', '.join(unknown)}'; it has: {has}.", _INVALID)
        kind = str(component.spec.get("type", "command")).lower()
        if kind == "pipeline":
            return self._pipeline(resolved, scope)
        if kind != "command":
            raise user_error(
                f"{_sentence(title)} is of type '{kind}'; here pipelines run command components.", _INVALID
            )
        self._steps.append(self._step(resolved, scope))
        return {output: StepOutput(resolved.key, output) for output in resolved.declared_outputs}

    def _pipeline(self, node: _Node, scope: _Scope) -> dict[str, StepOutput]:
        if node.key.count("/") >= _DEEPEST:
            raise user_error(f"{_sentence(node.title)} is nested more than {_DEEPEST} pipelines deep.", _INVALID)
        self._groups[node.key] = Group(node.key, node.name, scope.group, node.component, node.inputs)
        inner = _Scope(
            inputs=node.inputs,
            declared=set(node.component.spec.get("inputs") or {}),
            outputs={output: node.job_output(output, scope) for output in node.declared_outputs},
            compute=scope.compute,
            registry=node.component.registry,
            group=node.key,
            prefix=f"{node.key}/",
            title=node.title,
        )
        return self._expand(node.component.spec.get("jobs") or {}, inner)

    def _step(self, node: _Node, scope: _Scope) -> Step:
        command = str(node.component.spec.get("command", ""))
        used_inputs, used_outputs = command_names(command)
        declared_inputs = set(node.component.spec.get("inputs") or {})
        undeclared = sorted((used_inputs - declared_inputs) | (used_outputs - node.declared_outputs.keys()))
        if undeclared:
            names = ", ".join(undeclared)
            raise user_error(f"The command of {node.component.id} refers to undeclared names: {names}.", _INVALID)
        variables = section(node.body, "environment_variables", node.title)
        nodes = self._nodes(node, scope)
        return Step(
            key=node.key,
            name=node.name,
            group=scope.group,
            component=node.component,
            inputs=node.inputs,
            outputs={
                output: Place(
                    type=str((declaration or {}).get("type", "uri_folder")).lower(),
                    job_output=node.job_output(output, scope),
                )
                for output, declaration in node.declared_outputs.items()
            },
            compute=self._compute(node.body, scope, node.title),
            environment={str(name): str(value) for name, value in variables.items()},
            nodes=nodes,
            processes_per_node=self._processes(node, nodes),
        )

    def _inputs(
        self,
        node: Mapping[str, Any],
        component: Component,
        scope: _Scope,
        produced: Mapping[str, Mapping[str, StepOutput]],
        title: str,
    ) -> dict[str, Binding]:
        declared: Mapping[str, Mapping[str, Any]] = component.spec.get("inputs") or {}
        bound: dict[str, Binding] = {}
        for name, value in node_inputs(node):
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
        binding = given(value, where)
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

    def _nodes(self, node: _Node, scope: _Scope) -> int:
        resources: dict[str, Any] = {}
        for owner in (node.component.spec, node.body):
            resources |= section(owner, "resources", node.title)
        text = str(resources.get("instance_count", 1))
        where = f"The instance count of {node.title}"
        reference = sole_reference(text)
        if reference is not None:
            target = self._follow(reference, scope, {}, where)
            text = target.text if isinstance(target, Literal) else "1"
        return values.count(text, where)

    @staticmethod
    def _processes(node: _Node, nodes: int) -> int | None:
        if node.component.registry is not None:  # the emulator's own programs train in one process
            return None
        wanted: dict[str, Any] = {}
        for owner in (node.component.spec, node.body):
            wanted |= section(owner, "distribution", node.title)
        return processes_per_node(wanted, nodes, node.title)


def _truthy(value: Any) -> bool:
    return str(value).lower() == "true"


def _sentence(title: str) -> str:
    return title[0].upper() + title[1:]
