"""Which client opens a place, and as whom; nothing is contacted."""

from pathlib import Path

import pytest

from phi_assets.azureml.connection.sign_in import SignIn
from phi_assets.azureml.storage.blob_place import BlobPlace
from phi_assets.config.settings import load_settings
from phi_assets.dataset.files.places import FsspecPlace
from phi_assets.graph.resources.places import Places, data_storage


@pytest.mark.parametrize(("cloud", "suffix"), [("", "core.windows.net"), ("AzureChinaCloud", "core.chinacloudapi.cn")])
def test_a_storage_account_is_opened_by_the_identity_of_everything_else(
    cloud: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHI_CLOUD", cloud)
    monkeypatch.setenv("PHI_CREDENTIAL", "cli")
    place = Places("azure", str(tmp_path))("abfss://c@acc/a")
    assert isinstance(place, BlobPlace)
    assert (place.container.url, place.path("b")) == (f"https://acc.blob.{suffix}/c", "a/b")
    assert isinstance(place.container.credential, SignIn)
    assert place.container.credential.mode == "cli"


def test_places_are_opened_once_and_are_the_same_for_the_same_settings(tmp_path: Path) -> None:
    settings = load_settings({"PHI_HOME": str(tmp_path), "PHI_DATA": "s3://bucket/a"})
    storage = data_storage(settings)
    assert storage == data_storage(settings)
    assert storage.places("s3://bucket/a") is storage.places("s3://bucket/a")
    assert isinstance(storage.places("s3://bucket/a"), FsspecPlace)
    assert storage.folder == tmp_path / "data"
