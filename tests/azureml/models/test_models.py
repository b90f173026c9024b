"""The foundation model of a registry: pinned, with its limits in either layout."""

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ComponentNotFound, ModelNotFineTunable, ModelNotFound
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.training.pipelines import get_component
from phi_assets.config.recipe import ComponentSection, ModelSection
from phi_assets.emulator.process import Connection
from tests.azureml import toys as toy


def test_latest_is_pinned_with_limits_and_defaults_from_its_tags(toys: Workspace) -> None:
    model = get_foundation_model(toys, toy.MODEL)
    assert model.id == "azureml://registries/toys/models/toy-model/versions/2"
    assert model.version == "2"
    assert model.finetune_computes == (toy.SIZE, toy.OTHER_SIZE, toy.AS_MANY_GPUS)
    assert model.inference_computes == (toy.SIZE,)
    assert model.defaults == {"prefix": "default: ", "learning_rate_min": 1e-7}


def test_a_version_can_be_named(toys: Workspace) -> None:
    assert get_foundation_model(toys, toy.MODEL.model_copy(update={"version": "1"})).version == "1"


def test_the_layout_with_system_metadata_is_read_and_retirement_is_said(toys: Workspace) -> None:
    lines: list[str] = []
    model = get_foundation_model(toys, ModelSection(registry="toys", name="new-layout"), lines.append)
    assert model.finetune_computes == (toy.SIZE,)
    assert model.inference_computes == (toy.SIZE,)
    assert any("retired on 2025-08-30" in line for line in lines)


def test_a_model_without_lists_is_not_restricted(toys: Workspace) -> None:
    assert get_foundation_model(toys, ModelSection(registry="toys", name="free")).finetune_computes is None


def test_an_empty_list_means_that_nothing_may_fine_tune_it(toys: Workspace) -> None:
    with pytest.raises(ModelNotFineTunable, match="not-tunable"):
        get_foundation_model(toys, ModelSection(registry="toys", name="not-tunable"))


@pytest.mark.parametrize(("name", "version"), [("Fi-3", "latest"), ("toy-model", "99")])
def test_an_unknown_model_or_version_is_named(toys: Workspace, name: str, version: str) -> None:
    with pytest.raises(ModelNotFound, match=rf"'toys' has no model '{name}'.*`model.name`"):
        get_foundation_model(toys, ModelSection(registry="toys", name=name, version=version))


def test_an_edit_in_place_changes_the_content_hash(toys: Workspace, emulator: Connection) -> None:
    section = ModelSection(registry="toys", name="free")
    before = get_foundation_model(toys, section)
    file = emulator.directory / "registry" / "toys" / "models" / "free" / "1.yaml"
    original = file.read_text()
    file.write_text(original + "tags:\n  notes: edited\n")
    try:
        after = get_foundation_model(toys, section)
    finally:
        file.write_text(original)
    assert (after.id, after.version) == (before.id, before.version)
    assert after.content_hash != before.content_hash


def test_the_component_has_its_declared_inputs(toys: Workspace) -> None:
    component = get_component(toys, toy.COMPONENT)
    assert component.id == "azureml://registries/toys/components/toy_pipeline/versions/1"
    assert component.inputs["outcome"].enum == ["complete", "rated", "fail", "nothing", "diverge", "silent"]
    assert component.inputs["seed"].default == 42


def test_an_unknown_component_version_is_named(toys: Workspace) -> None:
    with pytest.raises(ComponentNotFound, match=r"'toy_pipeline' version 9.*`component.version`"):
        get_component(toys, ComponentSection(registry="toys", name="toy_pipeline", version="9"))
