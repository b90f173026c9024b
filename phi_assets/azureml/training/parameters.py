"""Hyper-parameters: what is sent, where each value comes from, what was dropped and why."""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from phi_assets.azureml.connection.errors import InvalidParameter, UnknownParameter
from phi_assets.config.recipe import FinetuneSection

ParameterValue = str | int | float
Origin = Literal["recipe", "model", "component"]

NOTHING_SUBMITTED = "Nothing was submitted."
_LITERAL_TYPES = frozenset({"string", "integer", "number", "boolean"})

# Inputs that the graph fills in itself.
GPU_INPUT = "number_of_gpu_to_use_finetuning"
_COMPUTE_PREFIX = "compute_"


class ComponentInput(Protocol):
    """A declared input of a component, as the SDK's `Input` describes it."""

    type: Any
    default: Any
    optional: Any
    min: Any
    max: Any
    enum: Any


@dataclass(frozen=True)
class EffectiveParameters:
    """The hyper-parameters of a job."""

    values: Mapping[str, ParameterValue]
    """What is passed to the component: the recipe's and the model's, checked and in the component's types."""
    complete: Mapping[str, ParameterValue]
    """`values` and the component's own defaults: everything that the job will run with."""
    origins: Mapping[str, Origin]
    """Where each value of `complete` comes from."""
    overridden: Mapping[str, str] = field(default_factory=dict)
    """Values that lost against another origin, in words."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Defaults of the model that cannot be passed, with the reason."""


def effective_parameters(
    component_inputs: Mapping[str, ComponentInput], model_defaults: Mapping[str, Any], recipe: FinetuneSection
) -> EffectiveParameters:
    """Merge recipe and model defaults in the recipe's order of precedence, and check them against the component.

    Raises:
        UnknownParameter: the recipe gives something that the component does not declare, or that the graph sets.
        InvalidParameter: a value cannot be turned into the input's type, is out of range, or is not allowed.
    """
    _check_names(component_inputs, recipe.parameters)
    usable, dropped = _usable_defaults(component_inputs, model_defaults)
    recipe_wins = recipe.defaults == "recipe_wins"
    values: dict[str, ParameterValue] = {}
    origins: dict[str, Origin] = {}
    overridden: dict[str, str] = {}
    for key in [*recipe.parameters, *(key for key in usable if key not in recipe.parameters)]:
        from_recipe = key in recipe.parameters and (recipe_wins or key not in usable)
        origin: Origin = "recipe" if from_recipe else "model"
        values[key] = coerce(key, (recipe.parameters if from_recipe else usable)[key], component_inputs[key], origin)
        origins[key] = origin
        if key in recipe.parameters and key in usable:
            _note_conflict(overridden, key, values[key], usable[key] if from_recipe else recipe.parameters[key], origin)
    complete = dict(values)
    for key, declared in component_inputs.items():
        if key not in complete and is_parameter(key, declared) and declared.default is not None:
            complete[key] = coerce(key, declared.default, declared, "component")
            origins[key] = "component"
    return EffectiveParameters(values, complete, origins, overridden, dropped)


def is_parameter(key: str, declared: ComponentInput) -> bool:
    """Whether an input is a hyper-parameter, and not data, a model, or something about the compute."""
    return declared.type in _LITERAL_TYPES and not key.startswith(_COMPUTE_PREFIX) and key != GPU_INPUT


def missing_inputs(component_inputs: Mapping[str, ComponentInput], given: Collection[str]) -> list[str]:
    """Inputs without which the component does not run, and that have no value."""
    return [
        key
        for key, declared in component_inputs.items()
        if key not in given and not declared.optional and declared.default is None
    ]


def coerce(key: str, value: Any, declared: ComponentInput, origin: Origin = "recipe") -> ParameterValue:
    """`value` in the type that the input declares; booleans as "true" and "false".

    Raises:
        InvalidParameter: naming the key, the value, where it comes from and what is allowed.
    """
    converted = _convert(value, str(declared.type))
    if converted is None:
        raise _invalid(key, value, origin, f"it must be {_type_in_words(str(declared.type))}")
    if declared.enum:
        allowed = [str(item) for item in declared.enum]
        matches = [item for item in allowed if item.lower() == str(converted).lower()]
        if not matches:
            raise _invalid(key, value, origin, f"allowed are {', '.join(allowed)}")
        return matches[0]
    if isinstance(converted, int | float):
        low, high = _bound(declared.min), _bound(declared.max)
        if (low is not None and converted < low) or (high is not None and converted > high):
            raise _invalid(key, value, origin, f"it must be {_range_in_words(declared.min, declared.max)}")
    return converted


def display_name(model_name: str, parameters: Mapping[str, Any], gpus: int) -> str:
    """The job's name for people, built from the parameters as the Azure notebook builds it."""
    batch_size = math.prod(
        [
            int(parameters.get("per_device_train_batch_size", 1)),
            int(parameters.get("gradient_accumulation_steps", 1)),
            int(gpus),
            int(parameters.get("num_nodes_finetune", 1)),
        ]
    )
    deepspeed = parameters.get("apply_deepspeed", "false") == "true"
    return "-".join(
        [
            model_name,
            "ultrachat",
            f"bs{batch_size}",
            str(parameters.get("lr_scheduler_type", "linear")),
            f"ds{parameters.get('deepspeed_stage', '2')}" if deepspeed else "nods",
            "lora" if parameters.get("apply_lora", "false") == "true" else "nolora",
            f"save_limit{parameters.get('save_total_limit', -1)}",
            f"seqlen{parameters.get('max_seq_length', -1)}",
        ]
    )


def _check_names(inputs: Mapping[str, ComponentInput], names: Iterable[str]) -> None:
    known = sorted(key for key, declared in inputs.items() if is_parameter(key, declared))
    for name in names:
        if name in known:
            continue
        if name in inputs:
            raise UnknownParameter(
                f"Parameter {name!r} is set by the graph from other sections of the recipe (model, sample, compute). "
                f"Remove it from `finetune.parameters`. {NOTHING_SUBMITTED}"
            )
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known parameters: {', '.join(known)}."
        raise UnknownParameter(f"The component has no parameter {name!r}. {hint} {NOTHING_SUBMITTED}")


def _usable_defaults(
    inputs: Mapping[str, ComponentInput], defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    usable: dict[str, Any] = {}
    dropped: dict[str, str] = {}
    for key, value in defaults.items():
        if key not in inputs:
            dropped[key] = f"the component has no such input (the model's value was {value!r})"
        elif not is_parameter(key, inputs[key]):
            dropped[key] = f"the graph sets this input itself (the model's value was {value!r})"
        elif value is None:
            dropped[key] = "the model gives no value"
        else:
            usable[key] = value
    return usable, dropped


def _note_conflict(notes: dict[str, str], key: str, winner: ParameterValue, loser: Any, origin: Origin) -> None:
    if str(loser).lower() != str(winner).lower():
        other = "model" if origin == "recipe" else "recipe"
        notes[key] = f"{origin}: {winner}, instead of the {other}'s {loser}"


def _convert(value: Any, declared_type: str) -> ParameterValue | None:
    """The value in the declared type, or None where it has no such form."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if declared_type == "string":
        return text
    if declared_type == "boolean":
        return text.lower() if text.lower() in ("true", "false") else None
    number = _finite_number(value)
    if number is None or declared_type == "number":
        return number
    return int(number) if number.is_integer() else None


def _finite_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _bound(value: Any) -> float | None:
    return None if value is None else float(value)


def _type_in_words(declared_type: str) -> str:
    words = {"integer": "a whole number", "number": "a finite number", "boolean": "true or false"}
    return words.get(declared_type, f"of type {declared_type}")


def _range_in_words(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"between {low} and {high}"


def _invalid(key: str, value: Any, origin: Origin, rule: str) -> InvalidParameter:
    where = {
        "recipe": "`finetune.parameters` of the recipe",
        "model": "the model's own defaults (`finetune.defaults: recipe_wins` and a value of your own override them)",
        "component": "the component's own defaults",
    }[origin]
    return InvalidParameter(f"Parameter {key} = {value!r} from {where}: {rule}. {NOTHING_SUBMITTED}")
