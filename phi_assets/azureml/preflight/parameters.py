"""Whether the component exists, and declares everything that will be sent, as it will be sent."""

from collections.abc import Iterator

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import (
    AzureMLError,
    ComponentNotFound,
    InvalidParameter,
    UnknownParameter,
    WorkspaceUnreachable,
)
from phi_assets.azureml.connection.retry import one_line
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.training.parameters import (
    NOTHING_SUBMITTED,
    ComponentInput,
    EffectiveParameters,
    effective_parameters,
    missing_inputs,
)
from phi_assets.azureml.training.pipelines import FinetuneComponent, get_component, sent_inputs
from phi_assets.config.recipe import FinetuneSection, Recipe
from phi_assets.refs import ModelRef

NODES_PARAMETER = "num_nodes_finetune"


def look_at_parameters(
    ws: Workspace, recipe: Recipe, model: ModelRef | None, found: Findings
) -> EffectiveParameters | None:
    """What the job would run with, of everything that can be sent; None where there is no component."""
    found.looked_at.append("parameters")
    component = _component(ws, recipe, found)
    if component is None:
        return None
    found.facts["component"] = f"{component.name}:{component.version}"
    undeclared = sorted(sent_inputs(component) - set(component.inputs))
    if undeclared:
        found.error(
            "parameters",
            "component_interface",
            f"Component {component.name}:{component.version}",
            f"declares no input {', '.join(undeclared)}, which the graph sends",
            "Set `component.name` to a component for chat completion.",
        )
    usable = dict(recipe.finetune.parameters)
    for name, problem in _problems(component, recipe.finetune):
        del usable[name]
        code = "parameter_unknown" if isinstance(problem, UnknownParameter) else "parameter_invalid"
        _report(found, code, f"`finetune.parameters.{name}`", problem)
    defaults = model.defaults if model is not None else {}
    try:
        parameters = effective_parameters(
            component.inputs, defaults, recipe.finetune.model_copy(update={"parameters": usable})
        )
    except InvalidParameter as error:
        _report(found, "model_default_invalid", "The model's defaults", error)
        return None
    for name in parameters.dropped:
        if name not in component.inputs:
            found.warning(
                "parameters",
                "default_undeclared",
                f"Default {name} of the model",
                f"is not declared by component {component.name}:{component.version}, which would refuse it",
                "Nothing has to be done: it is left out of the job. Code that passes all defaults on fails here.",
            )
    missing = missing_inputs(component.inputs, {*parameters.complete, *sent_inputs(component)})
    if missing:
        found.error(
            "parameters",
            "input_required",
            f"Component {component.name}:{component.version}",
            f"requires inputs that nothing gives a value: {', '.join(missing)}",
            "Set those that are parameters in `finetune.parameters`, or choose another `component.version`.",
        )
    _look_at_nodes(recipe, parameters, found)
    return parameters


def _component(ws: Workspace, recipe: Recipe, found: Findings) -> FinetuneComponent | None:
    section = recipe.component
    try:
        return get_component(ws, section)
    except WorkspaceUnreachable as error:
        # The model's registry is most often the same, and has been reported.
        if section.registry != recipe.model.registry or not found.has_errors("model"):
            found.error(
                "parameters",
                "registry",
                f"Registry {section.registry!r}",
                f"cannot be reached: {one_line(error)}",
                "Check `component.registry`.",
            )
    except ComponentNotFound as error:
        found.error(
            "parameters",
            "component_not_found",
            f"Component {section.name}:{section.version}",
            f"cannot be had: {one_line(error)}",
            "Set `component.name` and `component.version` to one that exists, or the version to `latest`.",
        )
    return None


def _problems(component: FinetuneComponent, section: FinetuneSection) -> Iterator[tuple[str, AzureMLError]]:
    """Every parameter of the recipe that cannot be sent as it stands."""
    inputs: dict[str, ComponentInput] = dict(component.inputs)
    for name, value in section.parameters.items():
        alone = section.model_copy(update={"parameters": {name: value}})
        try:
            effective_parameters({name: inputs[name]} if name in inputs else inputs, {}, alone)
        except (UnknownParameter, InvalidParameter) as error:
            yield name, error


def _report(found: Findings, code: str, subject: str, error: AzureMLError) -> None:
    cause = one_line(error).removesuffix(NOTHING_SUBMITTED.rstrip(".")).rstrip(". ")
    found.error("parameters", code, subject, f"cannot be sent: {cause}", "Edit `finetune.parameters`.")


def _look_at_nodes(recipe: Recipe, parameters: EffectiveParameters, found: Findings) -> None:
    nodes = int(parameters.complete.get(NODES_PARAMETER, 1))
    if nodes > recipe.compute.max_nodes:
        found.error(
            "parameters",
            "too_few_nodes",
            f"Parameter {NODES_PARAMETER} = {nodes}",
            f"asks for more nodes than the cluster may have ({recipe.compute.max_nodes}): the job would wait for ever",
            f"Set `compute.max_nodes: {nodes}`, or fewer nodes.",
        )
