"""A registered model whose files are not what they were is not served."""

import os
from pathlib import Path

import pytest

from phi_assets.emulator.routes.assets.models import _prepare
from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.serving.logs import DeploymentLogs
from phi_assets.emulator.serving.models import fetch_model, require_registered_files
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace import assets
from tests.emulator import testing_registry

URI = "azureml://datastores/workspaceblobstore/paths/models/toy"
MLMODEL = "flavors:\n  python_function:\n    loader_module: x\n"


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    parts = testing_registry.without_server(tmp_path / "emulator")
    folder = parts.emulator.blobs.root / "azureml-blobstore" / "models" / "toy"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "data" / "weights.bin").write_bytes(b"weights" * 1000)
    sent = {"modelUri": URI, "modelType": "mlflow_model"}
    assets.put_version(
        parts.emulator,
        assets.MODELS,
        "toy",
        "1",
        _prepare(parts.emulator, "toy", "1", sent),
        lambda document, _: document["properties"],
    )
    return parts


def weights(parts: Parts) -> Path:
    return parts.emulator.blobs.root / "azureml-blobstore" / "models" / "toy" / "data" / "weights.bin"


def fetch(parts: Parts, tmp_path: Path) -> Path:
    logs = DeploymentLogs(tmp_path / "logs")
    logs.begin()
    return fetch_model(parts.emulator, "azureml:toy:1", logs)


def test_whole_files_are_served_and_so_are_those_that_came_beside_them(parts: Parts, tmp_path: Path) -> None:
    (weights(parts).parent / "new.txt").write_text("new")
    assert fetch(parts, tmp_path).name == "toy"


def test_one_flipped_byte_is_noticed_and_named(parts: Parts, tmp_path: Path) -> None:
    status = weights(parts).stat()
    content = bytearray(weights(parts).read_bytes())
    content[3500] ^= 1
    weights(parts).write_bytes(content)
    os.utime(weights(parts), ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(ServiceError, match=r"weights\.bin of model toy:1 has changed since the model was registered"):
        fetch(parts, tmp_path)


def test_a_file_that_is_gone_is_named(parts: Parts, tmp_path: Path) -> None:
    weights(parts).unlink()
    with pytest.raises(ServiceError, match=r"weights\.bin of model toy:1 is gone"):
        fetch(parts, tmp_path)


def test_what_was_registered_by_an_earlier_version_or_is_registered_no_more_is_served(
    parts: Parts, tmp_path: Path
) -> None:
    weights(parts).write_bytes(b"other")
    parts.emulator.store.delete("model_files", "toy/1")
    folder = fetch(parts, tmp_path)
    assets.delete_version(parts.emulator, assets.MODELS, "toy", "1")
    require_registered_files(parts.emulator, "azureml:toy:1", folder)


def test_a_version_that_is_registered_anew_has_the_files_of_then(parts: Parts, tmp_path: Path) -> None:
    assets.delete_version(parts.emulator, assets.MODELS, "toy", "1")
    weights(parts).write_bytes(b"other")
    sent = {"modelUri": URI, "modelType": "mlflow_model"}
    kept = _prepare(parts.emulator, "toy", "1", sent)
    assets.put_version(parts.emulator, assets.MODELS, "toy", "1", kept, lambda document, _: document["properties"])
    assert fetch(parts, tmp_path).name == "toy"
