"""Whether what lies at a URL lies in a datastore of the workspace."""

from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.storage.blob_place import blob_place
from phi_assets.azureml.storage.datastores import container_of, uri_of, uri_of_asset
from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.sources.raw_splits import fetch_split, latest_revision
from tests.dataset.shards import make_rows, quiet, write_shards


def test_a_url_is_found_in_the_datastore_of_its_account_and_container(workspace: Workspace) -> None:
    entity: Any = sdk().entities.AzureBlobDatastore(name="found_by_url", account_name="acc", container_name="c")
    workspace.ml.datastores.create_or_update(entity)
    try:
        expected = "azureml://datastores/found_by_url/paths/a/b.jsonl"
        assert uri_of(workspace, "abfss://c@acc.dfs.core.windows.net/a/b.jsonl") == expected
        assert uri_of(workspace, "az://c@acc/a/b.jsonl") == expected
        assert uri_of(workspace, expected) == expected
        for other in ("abfss://d@acc.dfs.core.windows.net/a", "az://c@another/a", "s3://c/a", "/c/a"):
            assert uri_of(workspace, other) is None
    finally:
        workspace.ml.datastores.delete("found_by_url")


def test_a_datastore_of_data_lake_gen2_is_opened_and_one_of_file_shares_says_what_to_take(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator has neither: they are as the SDK gives them."""
    entities: Any = sdk().entities
    lake = entities.AzureDataLakeGen2Datastore(name="lake", account_name="acc", filesystem="fs")
    shares = entities.AzureFileDatastore(name="shares", account_name="acc", file_share_name="share")
    known = {each.name: each for each in (lake, shares)}
    monkeypatch.setattr(type(workspace.ml.datastores), "get", lambda _, name, **__: known[name])
    monkeypatch.setattr(type(workspace.ml.datastores), "list", lambda _: list(known.values()))
    assert container_of(workspace, "lake").url == "https://acc.blob.core.windows.net/fs"
    assert uri_of(workspace, "abfss://fs@acc.dfs.core.windows.net/a") == "azureml://datastores/lake/paths/a"
    with pytest.raises(DatasetError, match="Datastore shares has no container of blobs: take one of"):
        blob_place("azureml://datastores/shares/paths/a", lambda: workspace.credential, lambda: workspace).list("")


def test_a_data_asset_and_a_datastore_s_path_are_sources(workspace: Workspace, tmp_path: Path) -> None:
    write_shards(tmp_path / "source", "train_sft", make_rows(30), shards=2)
    module = sdk()
    entity: Any = module.entities.Data(name="chats", version="7", type="uri_folder", path=str(tmp_path / "source"))
    asset: Any = workspace.ml.data.create_or_update(entity)
    uri = uri_of_asset(workspace, "azureml:chats:7")
    assert asset.path.rstrip("/").endswith(uri.removeprefix("azureml://"))
    storage = DataStorage(
        str(tmp_path), tmp_path / "data", lambda url: blob_place(url, lambda: workspace.credential, lambda: workspace)
    )
    (tmp_path / "data").mkdir()
    raw = []
    for path in ("azureml:chats:7", uri, f"{uri}/data/train_sft-00000-of-00002.parquet"):
        section = DatasetSection(source="local", path=path, splits={"train_sft": "train_sft"})
        assert latest_revision(section, storage=storage) == latest_revision(section, storage=storage)
        raw.append(storage.keep(fetch_split(section, "train_sft", storage.folder, quiet, storage)))
    assert [ref.rows for ref in raw] == [30, 30, 15]
    assert raw[0].sha256 == raw[1].sha256
    assert {str(file).rpartition("/data/")[0] for ref in raw for file in ref.files} == {uri}
    assert list((tmp_path / "data").iterdir()) == []
    with pytest.raises(DatasetError, match=f"Workspace {workspace.name} has no data asset chats:8"):
        uri_of_asset(workspace, "azureml:chats:8")
    with pytest.raises(DatasetError, match="write azureml:chats:<version>"):
        uri_of_asset(workspace, "azureml:chats")
