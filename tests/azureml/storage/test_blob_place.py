"""Blobs as a place of files, in a real storage account's terms: whole or not at all, and no more read than is asked."""

import io
import secrets
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from phi_assets.azureml.storage.blob_place import BlobPlace, blob_place
from phi_assets.azureml.storage.datastores import parts_of
from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.refs import AnswersRef, DataFile
from tests.azurite import Azurite
from tests.dataset.shards import long_rows, quiet, write_shards

CONTAINER = "places"


def never() -> Any:
    raise AssertionError("nobody has to sign in")


@pytest.fixture
def place(azurite: Azurite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BlobPlace:
    azurite.container(CONTAINER)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    return blob_place(f"az://{CONTAINER}/{tmp_path.name}", never, never)


def test_files_are_found_by_name(place: BlobPlace) -> None:
    assert place.list("") == []
    for name in ("a/b/one.json", "a/two.json", "ab.json"):
        place.put(name, io.BytesIO(name.encode()))
    assert [(found.name, found.size) for found in place.list("a")] == [("a/b/one.json", 12), ("a/two.json", 10)]
    assert place.stat("a/two.json") == place.list("a")[1]
    assert place.stat("a") is None
    target = io.BytesIO()
    place.get("ab.json", target)
    assert target.getvalue() == b"ab.json"
    with pytest.raises(DatasetError, match=r"az://places/.* cannot be read: .*blob does not exist"):
        place.get("nothing", target)


def test_only_what_is_read_is_sent(place: BlobPlace, azurite: Azurite) -> None:
    place.put("large", io.BytesIO(bytes(range(256)) * 4000))
    since = len(azurite.requests())
    with place.open("large") as file:
        file.seek(-3, io.SEEK_END)
        assert file.read() == b"\xfd\xfe\xff"
        file.seek(256)
        assert file.read(2) == b"\x00\x01"
    assert sum(request.sent for request in azurite.requests(since) if request.method == "GET") == 5
    with place.open("large") as file:
        place.put("large", io.BytesIO(b"another"))
        with pytest.raises(DatasetError, match=r"cannot be read: .*condition"):
            file.read(2)


class Killed(BaseException):
    pass


class Breaking(io.BytesIO):
    """Ends in the middle, as a process does that is killed."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 3000:
            raise Killed
        return super().read(size)


def test_a_broken_upload_leaves_nothing_under_the_name(azurite: Azurite, place: BlobPlace, tmp_path: Path) -> None:
    small = ContainerClient.from_connection_string(
        azurite.connection_string, CONTAINER, max_single_put_size=1000, max_block_size=1000
    )
    in_blocks = BlobPlace(place.url, tmp_path.name, lambda: small)
    since = len(azurite.requests())
    with pytest.raises(Killed):
        in_blocks.put("file", Breaking(bytes(9000)))
    blocks = [request for request in azurite.requests(since) if "comp=block&" in request.path]
    assert len(blocks) >= 2
    assert place.stat("file") is None
    assert place.list("") == []
    in_blocks.put("file", io.BytesIO(bytes(9000)))
    with pytest.raises(Killed):
        in_blocks.put("file", Breaking(bytes(5000)))
    found = place.stat("file")
    assert found is not None
    assert found.size == 9000


def test_two_machines_share_a_file_and_no_ref_or_message_has_a_key(place: BlobPlace, tmp_path: Path) -> None:
    one, two = (DataStorage(place.url, tmp_path / name, lambda _: place) for name in ("one", "two"))
    path = one.folder / "scoring" / "answers.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}" * 5000)
    kept = one.keep(AnswersRef(path=DataFile.at(path), rows=1, fingerprint="a", model_id="m", action="scored"))
    written = kept.model_dump_json()
    read = AnswersRef.model_validate_json(written, context={"keeper": two})
    assert Path(read.path).read_bytes() == path.read_bytes()
    assert str(read.path) == f"{place.url}/{kept.path.name}"
    assert "devstoreaccount1" not in written
    assert "Key" not in f"{written}{read!r}{read.path}"


@pytest.mark.parametrize("kind", ["az", "datastore", "data asset"])
def test_a_source_is_read_row_group_by_row_group(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(url: str) -> BlobPlace:
        return blob_place(url, never, never if kind == "az" else lambda: request.getfixturevalue("workspace"))

    if kind == "az":
        url = request.getfixturevalue("place").url
    else:
        url = f"azureml://datastores/workspaceblobstore/paths/{tmp_path.name}"
    for shard in write_shards(tmp_path / "source", "train_sft", long_rows(4000), shards=2, group=100):
        opened(url).put(shard.relative_to(tmp_path / "source").as_posix(), io.BytesIO(shard.read_bytes()))
    size = sum(found.size for found in opened(url).list(""))
    if kind == "data asset":
        from azure.ai.ml.entities import Data

        name, ws = f"chats-{secrets.token_hex(4)}", request.getfixturevalue("workspace")
        ws.ml.data.create_or_update(Data(name=name, version="3", type="uri_folder", path=url))
        url = f"azureml:{name}:3"
    sent: list[int] = []
    read = BlobPlace.read

    def counted(*arguments: Any) -> bytes:
        piece = read(*arguments)
        sent.append(len(piece))
        return piece

    monkeypatch.setattr(BlobPlace, "read", counted)
    storage = DataStorage(str(tmp_path / "data"), tmp_path / "data", opened)
    samples = []
    for where in (str(tmp_path / "source"), url):
        section = DatasetSection.model_validate({"source": "local", "path": where})
        raw = storage.keep(fetch_split(section, "train_sft", storage.folder, quiet, storage))
        proven = sum(sent)
        sample = SampleSection(percent=5)
        samples += prepare_split(raw, sample, ContractSection(), tmp_path / f"sample-{len(samples)}", quiet)
    print(f"{url}: {sum(sent) - proven:,} of {size:,} bytes, after {proven:,} to prove the schema")
    assert samples[0].sha256 == samples[1].sha256
    assert 0.04 * size < sum(sent) - proven < 0.08 * size
    assert not (storage.folder / "fetched").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("abfss://c@acc.dfs.core.windows.net/a/b/", ("c", "https://acc.blob.core.windows.net", "a/b")),
        ("az://c@acc.blob.core.windows.net", ("c", "https://acc.blob.core.windows.net", "")),
        ("abfss://c@acc/a", ("c", "https://acc.blob.core.chinacloudapi.cn", "a")),
        ("az://c/a", ("c", "https://named.blob.core.chinacloudapi.cn", "a")),
    ],
)
def test_a_url_says_account_and_container(
    url: str, expected: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "named")
    assert parts_of(url, "core.chinacloudapi.cn") == expected


def test_a_url_without_an_account_says_what_to_write() -> None:
    with pytest.raises(DatasetError, match=r"write abfss://c@<account>\.dfs\.core\.windows\.net"):
        blob_place("az://c/a", never, never)
    with pytest.raises(DatasetError, match="is no path in a datastore"):
        blob_place("azureml://c/a", never, never)
