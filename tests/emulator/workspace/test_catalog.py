"""The registries' content."""

import ast
import os
from pathlib import Path

import pytest

from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.catalog import Catalog, version_key
from tests.emulator.testing_registry import FOLDER, PACKAGED


@pytest.fixture
def catalog() -> Catalog:
    return Catalog([PACKAGED, FOLDER])


def test_registries_of_all_folders_are_there(catalog: Catalog) -> None:
    assert catalog.registries() == ["azureml", "azureml-2026", "including", "testing"]


def test_latest_is_the_newest_by_creation_time_not_by_number(catalog: Catalog) -> None:
    assert [asset.version for asset in catalog.versions("components", "testing", "copy_file")] == ["1", "2"]
    assert [asset.version for asset in catalog.versions("models", "azureml", "Phi-3-mini-4k-instruct")] == ["15", "13"]


def test_without_dates_the_highest_number_is_the_newest(catalog: Catalog) -> None:
    assert [asset.version for asset in catalog.versions("models", "testing", "tiny")] == ["10", "2"]


def test_version_numbers_are_compared_as_numbers() -> None:
    assert sorted(["0.0.10", "0.0.9", "0.0.9-rc", "1"], key=version_key) == ["0.0.9", "0.0.9-rc", "0.0.10", "1"]


def test_an_included_registry_has_the_components_under_its_own_ids(catalog: Catalog) -> None:
    component = catalog.get("components", "including", "copy_file", "1")
    assert component.id == "azureml://registries/including/components/copy_file/versions/1"
    assert catalog.names("models", "including") == []


def test_a_model_id_leads_to_its_files(catalog: Catalog) -> None:
    folder = catalog.model_folder("azureml://registries/testing/models/tiny/versions/2")
    assert (folder / "MLmodel").is_file()
    assert catalog.model_folder("azureml://registries/testing/models/tiny/labels/latest") == folder


@pytest.mark.parametrize(
    ("reference", "status", "words"),
    [
        ("azureml://registries/testing/models/tiny/versions/3", 404, ["tiny:3", "10, 2"]),
        ("azureml://registries/testing/models/nobody/versions/1", 404, ["nobody"]),
        ("azureml://registries/nowhere/models/tiny/versions/2", 404, ["nowhere"]),
        ("azureml://registries/../models/tiny/versions/2", 404, [".."]),
        ("azureml://registries/testing/components/copy_file/versions/1", 400, ["model"]),
        ("https://example.org/tiny", 400, ["https://example.org/tiny"]),
    ],
)
def test_what_is_not_there_is_named(catalog: Catalog, reference: str, status: int, words: list[str]) -> None:
    with pytest.raises(ServiceError) as caught:
        catalog.model_folder(reference)
    assert caught.value.status == status
    assert all(word in caught.value.message for word in words)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "own" / "models" / "m" / "1.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("description: before")
    catalog = Catalog([tmp_path])
    assert catalog.get("models", "own", "m", "1").spec["description"] == "before"
    file.write_text("description: after, and longer")
    os.utime(file, ns=(1, 1))
    assert catalog.get("models", "own", "m", "1").spec["description"] == "after, and longer"


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "own" / "models" / "m" / "1.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("a: [1")
    with pytest.raises(ServiceError, match=r"m/1\.yaml is not valid YAML"):
        Catalog([tmp_path]).get("models", "own", "m", "1")


def test_the_seed_can_read_the_models_tags(catalog: Catalog) -> None:
    tags = catalog.get("models", "azureml", "Phi-3-mini-4k-instruct", "15").spec["tags"]
    assert "Standard_ND40rs_v2" in tags["finetune_compute_allow_list"]
    assert "Standard_NC6s_v3" in tags["inference_compute_allow_list"]
    defaults = ast.literal_eval(str(tags["model_specific_defaults"]))
    assert defaults["num_train_epochs"] == 1
    assert isinstance(defaults["learning_rate"], float)
    # Every default is an input of the component, or the seed's call fails.
    component = catalog.versions("components", "azureml", "chat_completion_pipeline")[0]
    assert defaults.keys() <= component.spec["inputs"].keys()


def test_the_registry_of_2026_is_as_the_public_one(catalog: Catalog) -> None:
    phi3 = catalog.get("models", "azureml-2026", "Phi-3-mini-4k-instruct", "15")
    assert phi3.archived
    assert "finetune_compute_allow_list" not in phi3.spec["tags"]
    assert "learning_rate_min" in phi3.spec["tags"]["model_specific_defaults"]
    assert "Standard_NC24ads_A100_v4" in phi3.spec["system_metadata"]["supportedComputes"]["finetuneComputes"]
    phi4 = catalog.get("models", "azureml-2026", "Phi-4", "8")
    assert not phi4.archived
    assert phi4.folder == phi3.folder == catalog.get("models", "azureml", "Phi-3-mini-4k-instruct", "15").folder
    assert catalog.get("components", "azureml-2026", "chat_completion_pipeline", "0.0.82").registry == "azureml-2026"
