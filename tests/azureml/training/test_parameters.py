"""Effective hyper-parameters: precedence, types, ranges, and the display name made of them."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from phi_assets.azureml.connection.errors import InvalidParameter, UnknownParameter
from phi_assets.azureml.training.parameters import coerce, display_name, effective_parameters
from phi_assets.config.recipe import FinetuneSection
from phi_assets.config.recipe_files import load_recipe


@dataclass
class Declared:
    """An input as the SDK describes it."""

    type: Any
    default: Any = None
    optional: Any = False
    min: Any = None
    max: Any = None
    enum: Any = None


@dataclass
class Booleans(Declared):
    type: Any = "string"
    enum: Any = field(default_factory=lambda: ["true", "false"])


INPUTS = {
    "mlflow_model_path": Declared("mlflow_model", optional=True),
    "train_file_path": Declared("uri_file", optional=True),
    "compute_finetune": Declared("string", default="serverless"),
    "number_of_gpu_to_use_finetuning": Declared("integer", default=1, min=1),
    "num_train_epochs": Declared("integer", default=1, min=1),
    "per_device_train_batch_size": Declared("integer", default=1, min=1),
    "per_device_eval_batch_size": Declared("integer", default=1, min=1),
    "gradient_accumulation_steps": Declared("integer", default=1, min=1),
    "learning_rate": Declared("number", default=0.00002, min=0),
    "lr_scheduler_type": Declared("string", default="linear", enum=["linear", "cosine", "polynomial"]),
    "apply_lora": Booleans(default="false"),
    "apply_ort": Booleans(default="false"),
    "apply_deepspeed": Booleans(default="false"),
    "ignore_mismatched_sizes": Booleans(default="true"),
    "deepspeed_stage": Declared("string", default="2", enum=["2", "3"]),
    "precision": Declared("string", default="32", enum=["32", "16"]),
    "logging_strategy": Declared("string", default="steps", enum=["epoch", "steps"]),
    "logging_steps": Declared("integer", default=10),
    "save_total_limit": Declared("integer", default=-1),
    "max_seq_length": Declared("integer", default=-1),
    "seed": Declared("integer", default=42),
    "resume": Declared("boolean", default=False),
}

PHI3_DEFAULTS = {
    "apply_deepspeed": "true",
    "deepspeed_stage": 2,
    "apply_lora": "true",
    "apply_ort": "false",
    "precision": 16,
    "ignore_mismatched_sizes": "false",
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": "5e-6",
    "learning_rate_min": "5e-7",
    "learning_rate_max": "5e-5",
    "lr_scheduler_type": "cosine",
    "logging_strategy": "steps",
    "logging_steps": 10,
    "save_total_limit": 1,
}


def recipe(defaults: str = "model_wins", **parameters: Any) -> FinetuneSection:
    return FinetuneSection.model_validate({"parameters": parameters, "defaults": defaults})


def test_the_notebooks_parameters_with_todays_defaults_of_the_model() -> None:
    result = effective_parameters(INPUTS, PHI3_DEFAULTS, load_recipe("phi3_mini_ultrachat").finetune)
    # The model's one epoch beats the notebook's three; numbers become the component's enum texts.
    assert result.values["num_train_epochs"] == 1
    assert result.overridden == {"num_train_epochs": "model: 1, instead of the recipe's 3"}
    assert (result.values["precision"], result.values["deepspeed_stage"]) == ("16", "2")
    assert result.values["learning_rate"] == pytest.approx(5e-6)
    assert sorted(result.dropped) == ["learning_rate_max", "learning_rate_min"]
    assert "no such input" in result.dropped["learning_rate_min"]
    assert result.origins["num_train_epochs"] == "model"


def test_recipe_wins_turns_precedence_round() -> None:
    result = effective_parameters(INPUTS, PHI3_DEFAULTS, recipe("recipe_wins", num_train_epochs=3))
    assert result.values["num_train_epochs"] == 3
    assert result.origins["num_train_epochs"] == "recipe"
    assert result.values["apply_lora"] == "true"
    assert result.overridden == {"num_train_epochs": "recipe: 3, instead of the model's 1"}


def test_component_defaults_complete_the_values_without_being_sent() -> None:
    result = effective_parameters(INPUTS, {}, recipe(num_train_epochs=2))
    assert dict(result.values) == {"num_train_epochs": 2}
    assert result.complete["seed"] == 42
    assert result.origins["seed"] == "component"
    assert result.complete["resume"] == "false"
    assert not {"mlflow_model_path", "compute_finetune", "number_of_gpu_to_use_finetuning"} & set(result.complete)


def test_an_unknown_parameter_is_named_with_close_matches() -> None:
    with pytest.raises(UnknownParameter, match=r"'learning_rat'.*Did you mean 'learning_rate'.*Nothing was submitted"):
        effective_parameters(INPUTS, {}, recipe(learning_rat=1e-5))


def test_an_unknown_parameter_without_close_matches_lists_the_known_ones() -> None:
    with pytest.raises(UnknownParameter, match=r"'zzz'.*Known parameters: apply_deepspeed, .*Nothing was submitted"):
        effective_parameters(INPUTS, {}, recipe(zzz=1))


@pytest.mark.parametrize("name", ["mlflow_model_path", "compute_finetune", "number_of_gpu_to_use_finetuning"])
def test_what_the_graph_sets_is_refused_in_the_recipe_and_dropped_from_the_model(name: str) -> None:
    with pytest.raises(UnknownParameter, match=f"'{name}' is set by the graph"):
        effective_parameters(INPUTS, {}, recipe(**{name: "x"}))
    assert "sets this input itself" in effective_parameters(INPUTS, {name: "x"}, recipe()).dropped[name]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("precision", 16, "16"),
        ("apply_lora", True, "true"),
        ("apply_lora", "True", "true"),
        ("resume", "FALSE", "false"),
        ("learning_rate", "5e-6", 5e-6),
        ("learning_rate", 1, 1.0),
        ("num_train_epochs", 3.0, 3),
        ("num_train_epochs", "3", 3),
        ("max_seq_length", -1, -1),
    ],
)
def test_values_become_what_the_input_declares(key: str, value: Any, expected: Any) -> None:
    result = coerce(key, value, INPUTS[key])
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("precision", 8, "allowed are 32, 16"),
        ("lr_scheduler_type", "cosin", "allowed are linear, cosine, polynomial"),
        ("learning_rate", -1, "at least 0"),
        ("learning_rate", "fast", "a finite number"),
        ("learning_rate", float("nan"), "a finite number"),
        ("num_train_epochs", 0, "at least 1"),
        ("num_train_epochs", 1.5, "a whole number"),
        ("num_train_epochs", True, "a whole number"),
        ("resume", "perhaps", "true or false"),
    ],
)
def test_unusable_values_are_named_with_the_rule(key: str, value: Any, rule: str) -> None:
    with pytest.raises(InvalidParameter, match=rule) as caught:
        coerce(key, value, INPUTS[key])
    assert key in str(caught.value)
    assert repr(value) in str(caught.value)


def test_a_bad_default_of_the_model_says_how_to_get_round_it() -> None:
    with pytest.raises(InvalidParameter, match=r"model's own defaults.*recipe_wins"):
        effective_parameters(INPUTS, {"precision": 12}, recipe())
    assert effective_parameters(INPUTS, {"precision": 12}, recipe("recipe_wins", precision=16)).values == {
        "precision": "16"
    }


def notebook_display_name(model_name: str, finetune_parameters: dict[str, Any], gpus_per_node: int) -> str:
    """The format of the notebook, kept literally as the expectation."""
    batch_size = (
        int(finetune_parameters.get("per_device_train_batch_size", 1))
        * int(finetune_parameters.get("gradient_accumulation_steps", 1))
        * int(gpus_per_node)
        * int(finetune_parameters.get("num_nodes_finetune", 1))
    )
    scheduler = finetune_parameters.get("lr_scheduler_type", "linear")
    stage = finetune_parameters.get("deepspeed_stage", "2")
    deepspeed = f"ds{stage}" if finetune_parameters.get("apply_deepspeed", "false") == "true" else "nods"
    lora = "lora" if finetune_parameters.get("apply_lora", "false") == "true" else "nolora"
    limit = finetune_parameters.get("save_total_limit", -1)
    length = finetune_parameters.get("max_seq_length", -1)
    return f"{model_name}-ultrachat-bs{batch_size}-{scheduler}-{deepspeed}-{lora}-save_limit{limit}-seqlen{length}"


def test_display_name_of_the_notebooks_values() -> None:
    values = effective_parameters(INPUTS, PHI3_DEFAULTS, load_recipe("phi3_mini_ultrachat").finetune).values
    expected = "Phi-3-mini-4k-instruct-ultrachat-bs8-cosine-ds2-lora-save_limit1-seqlen-1"
    assert display_name("Phi-3-mini-4k-instruct", values, 8) == expected
    assert notebook_display_name("Phi-3-mini-4k-instruct", dict(values), 8) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"apply_deepspeed": "false", "apply_lora": "true", "max_seq_length": 512},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_nodes_finetune": 2},
        {"apply_deepspeed": "true", "deepspeed_stage": "3", "lr_scheduler_type": "polynomial", "save_total_limit": 2},
    ],
)
def test_display_name_has_the_notebooks_format(parameters: dict[str, Any]) -> None:
    assert display_name("m", parameters, 2) == notebook_display_name("m", parameters, 2)
