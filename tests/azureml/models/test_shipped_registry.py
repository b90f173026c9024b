"""The recipes that ship with the project against the registries that ship with the emulator."""

from typing import Any

import pytest

from phi_assets.azureml.compute.vm_sizes import check_size
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ComputeNotAllowed, InvalidParameter, ModelNotFound, UnknownParameter
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.training.parameters import display_name, effective_parameters
from phi_assets.azureml.training.pipelines import build_pipeline, get_component
from phi_assets.config.recipe import ComponentSection, FinetuneSection, ModelSection
from phi_assets.config.recipe_files import load_recipe


@pytest.mark.parametrize(
    ("recipe", "registry", "version"),
    [
        *(
            (recipe, *where)
            for recipe in ("phi3_mini_ultrachat", "quickstart")
            for where in (("azureml", "latest"), ("azureml-2026", "15"))
        ),
        ("phi4_ultrachat", "azureml-2026", "8"),
    ],
)
def test_the_recipe_fits_the_component_and_the_model(
    workspace: Workspace, recipe: str, registry: str, version: str
) -> None:
    content = load_recipe(recipe)
    section = content.model.model_copy(update={"registry": registry, "version": version})
    model = get_foundation_model(workspace, section)
    component = get_component(workspace, content.component.model_copy(update={"registry": registry}))
    parameters = effective_parameters(component.inputs, model.defaults, content.finetune)
    assert set(parameters.values) <= set(component.inputs)
    assert set(content.finetune.parameters) <= set(parameters.values)
    assert parameters.complete["seed"] == 42
    if content.finetune.defaults == "recipe_wins":
        assert all(parameters.origins[name] == "recipe" for name in content.finetune.parameters)
    check_size(content.compute.size, model)


def test_the_job_is_given_train_validation_and_test_data(workspace: Workspace) -> None:
    recipe = load_recipe("phi3_mini_ultrachat")
    model = get_foundation_model(workspace, recipe.model)
    component = get_component(workspace, recipe.component)
    job: Any = build_pipeline(
        component,
        model_id=model.id,
        compute_name="cluster",
        gpus=1,
        train_data="azureml:train:1",
        validation_data="azureml:validation:1",
        test_data="azureml:test:1",
        parameters=effective_parameters(component.inputs, model.defaults, recipe.finetune),
        title="a title",
    )
    inputs = job.jobs["chat_completion_pipeline"].inputs
    given = {use: inputs[f"{use}_file_path"]._data for use in ("train", "validation", "test")}
    assert {use: data.path for use, data in given.items()} == {use: f"azureml:{use}:1" for use in given}
    assert {data.type for data in given.values()} == {"uri_file"}


def test_todays_metadata_is_understood(workspace: Workspace) -> None:
    """Limits beside the tags, a retired model, and defaults that the component does not take."""
    lines: list[str] = []
    archived = ModelSection(registry="azureml-2026")
    with pytest.raises(ModelNotFound, match="an archived model has no"):
        get_foundation_model(workspace, archived)
    model = get_foundation_model(workspace, archived.model_copy(update={"version": "15"}), lines.append)
    assert model.finetune_computes
    assert model.inference_computes
    assert any("retired on 2025-08-30" in line for line in lines)
    component = get_component(workspace, ComponentSection(registry="azureml-2026"))
    parameters = effective_parameters(component.inputs, model.defaults, FinetuneSection())
    assert sorted(parameters.dropped) == ["learning_rate_max", "learning_rate_min"]


def test_the_replacement_is_live(workspace: Workspace) -> None:
    lines: list[str] = []
    model = get_foundation_model(workspace, ModelSection(registry="azureml-2026", name="Phi-4"), lines.append)
    assert model.name == "Phi-4"
    assert not lines


def test_the_default_of_azure_trains_as_the_registry_says(workspace: Workspace) -> None:
    """Written down in the recipe, so that it holds where the registry shows no defaults."""
    recipe = load_recipe("phi4_ultrachat")
    registry = {"registry": "azureml-2026"}
    model = get_foundation_model(workspace, recipe.model.model_copy(update=registry))
    component = get_component(workspace, recipe.component.model_copy(update=registry))
    both = effective_parameters(component.inputs, model.defaults, recipe.finetune).complete
    alone = effective_parameters(component.inputs, {}, recipe.finetune).complete
    written = set(recipe.finetune.parameters) - {"max_seq_length"}
    said = {name: str(value) for name, value in model.defaults.items() if name in written}
    assert {name: str(both[name]) for name in written} == {name: str(alone[name]) for name in written} == said
    assert (both["deepspeed_stage"], both["apply_lora"]) == ("3", "true")


def test_the_notebooks_display_name(workspace: Workspace) -> None:
    recipe = load_recipe("phi3_mini_ultrachat")
    model = get_foundation_model(workspace, recipe.model)
    component = get_component(workspace, recipe.component)
    parameters = effective_parameters(component.inputs, model.defaults, recipe.finetune)
    name = display_name(model.name, parameters.values, 8)
    assert name == "Phi-3-mini-4k-instruct-ultrachat-bs8-cosine-ds2-lora-save_limit1-seqlen-1"


def test_bad_recipes_are_refused_before_anything_is_submitted(workspace: Workspace) -> None:
    recipe = load_recipe("quickstart")
    component = get_component(workspace, recipe.component)
    with pytest.raises(UnknownParameter, match=r"'lora_rank'.*Did you mean 'lora_r"):
        effective_parameters(component.inputs, {}, FinetuneSection(parameters={"lora_rank": 8}))
    with pytest.raises(InvalidParameter, match=r"precision = 64 .*allowed are"):
        effective_parameters(component.inputs, {}, FinetuneSection(parameters={"precision": 64}))
    with pytest.raises(ComputeNotAllowed, match="Standard_NC24ads_A100_v4"):
        check_size("Standard_DS3_v2", get_foundation_model(workspace, recipe.model))
