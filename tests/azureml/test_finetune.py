"""One fine-tune of a recipe: what it depends on, what it was given, and what it left."""

from pathlib import Path
from typing import Any

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.compute import ensure_compute
from phi_assets.azureml.finetune import FinetuneResult, ensure_finetune_job
from phi_assets.azureml.models import get_foundation_model
from phi_assets.recipe import FinetuneSection, Recipe
from tests.azureml import toys as toy


def fine_tune(toys: Workspace, folder: Path, text: str = "hello", **finetune: Any) -> FinetuneResult:
    section = {"parameters": {"seed": 7}, "defaults": "recipe_wins", "experiment": "toys", **finetune}
    recipe = Recipe(name="toy", model=toy.MODEL, component=toy.COMPONENT, finetune=FinetuneSection(**section))
    model = get_foundation_model(toys, recipe.model)
    return ensure_finetune_job(
        toys,
        recipe,
        model=model,
        compute=ensure_compute(toys, toy.COMPUTE, model),
        train=toy.make_sample(folder, "train_sft", f"{text} {folder}"),
        test=toy.make_sample(folder, "test_sft", f"test {folder}"),
    )


def test_a_new_job_names_its_data_and_a_reused_one_has_none(toys: Workspace, tmp_path: Path) -> None:
    first = fine_tune(toys, tmp_path)
    assert [(data.name, data.action) for data in first.data] == [
        ("ultrachat-train-sft", "created"),
        ("ultrachat-test-sft", "created"),
    ]
    assert all(data.reason for data in first.data)
    again = fine_tune(toys, tmp_path)
    assert (again.job.action, again.data) == ("reused", ())
    assert again.inputs == first.inputs


def test_inputs_are_labelled_for_people(toys: Workspace, tmp_path: Path) -> None:
    inputs = fine_tune(toys, tmp_path).inputs
    assert inputs["component"] == "toy_pipeline:1"
    assert inputs["foundation model"] == "toy-model:2"
    assert inputs["gpus"] == "1"
    assert inputs["seed"] == "7"
    assert inputs["prefix"] == "default: "
    assert inputs["rate"] == "0.5"
    assert len(inputs["train data"]) == len(inputs["model content"]) == 12
    assert all(isinstance(value, str) for value in inputs.values())


def test_the_input_that_changed_is_the_only_one_that_differs(toys: Workspace, tmp_path: Path) -> None:
    before = fine_tune(toys, tmp_path)
    after = fine_tune(toys, tmp_path, text="bye")
    assert after.job.action == "submitted"
    assert {key for key in after.inputs if after.inputs[key] != before.inputs[key]} == {"train data"}


def test_the_loss_is_a_curve(toys: Workspace, tmp_path: Path) -> None:
    curve = fine_tune(toys, tmp_path).curves["loss"]
    assert [(point.step, point.value) for point in curve] == [(0, 3.0), (1, 2.0), (2, 1.0)]
