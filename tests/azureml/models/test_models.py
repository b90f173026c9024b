"""The foundation model of a registry: pinned, with its limits in either layout."""

from pathlib import Path

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ComponentNotFound, ModelNotFineTunable, ModelNotFound
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.models.registry import model_file
from phi_assets.azureml.training.pipelines import get_component
from phi_assets.config.recipe import ComponentSection, ModelSection
from phi_assets.emulator.process import Connection
from tests.azureml import toys as toy
from tests.emulator.testing_registry import PACKAGED
from tests.emulator_requests import Requests


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


def test_one_file_of_a_model_is_read_and_nothing_else_of_it(
    toys: Workspace, emulator: Connection, tmp_path: Path
) -> None:
    section = ModelSection(registry="azureml-2026", name="Phi-4")
    with Requests(emulator) as sent:
        tokenizer = model_file(toys, section, "tokenizer.json")
    shipped = PACKAGED / "models" / "phi3-tiny" / "data" / "tokenizer" / "tokenizer.json"
    assert tokenizer == shipped.read_bytes()
    assert sent.writes == []
    read = [entry.path for entry in sent.entries if entry.plane == "blob" and entry.path.count("/") > 2]
    assert [path.rpartition("/")[2] for path in read] == ["tokenizer.json"]
    with pytest.raises(ModelNotFound, match=r"azureml://registries/azureml-2026/models/Phi-4/versions/8 has no vocab"):
        model_file(toys, section, "vocab.json")
    # The SDK finds all files in the same place.
    toys.registry("azureml-2026").models.download("Phi-4", "8", str(tmp_path))
    assert [file.read_bytes() for file in tmp_path.rglob("tokenizer.json")] == [tokenizer]
    assert next(tmp_path.rglob("MLmodel")).read_bytes() == (PACKAGED / "models" / "phi3-tiny" / "MLmodel").read_bytes()
