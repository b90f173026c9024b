"""Object stores as places of files, by their own libraries: whole or not at all, and no more read than is asked."""

import io
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.places import FsspecPlace
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.refs import AnswersRef, DataFile, SplitRef
from tests.dataset.shards import long_rows, quiet, write_shards
from tests.object_stores import ObjectStore, running

MIB = 1 << 20


@pytest.fixture(scope="module", params=["s3", "gs"])
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    with running(request.param) as store:
        yield store


@pytest.fixture
def place(store: ObjectStore) -> FsspecPlace:
    """An empty folder of the bucket."""
    return FsspecPlace(f"{store.url}/{secrets.token_hex(4)}")


def test_files_are_found_by_name(place: FsspecPlace) -> None:
    assert place.list("") == []
    for name in ("a/b/one.json", "a/two.json", "ab.json", "empty"):
        place.put(name, io.BytesIO(b"" if name == "empty" else name.encode()))
    assert [(found.name, found.size) for found in place.list("a")] == [("a/b/one.json", 12), ("a/two.json", 10)]
    assert place.stat("a/two.json") == place.list("a")[1]
    assert place.stat("a") is None
    assert place.stat("b") is None
    empty = place.stat("empty")
    assert empty is not None
    assert empty.size == 0
    target = io.BytesIO()
    place.get("ab.json", target)
    assert target.getvalue() == b"ab.json"
    with pytest.raises(DatasetError, match=rf"{place.url} cannot be read \(FileNotFoundError"):
        place.get("nothing", target)


_REPLACE = """
import io, sys
from phi_assets.dataset.files.places import FsspecPlace

FsspecPlace(sys.argv[1]).put("a.json", io.BytesIO(b"another"))
"""


def test_a_file_that_somebody_else_has_changed_is_not_taken_for_what_was_listed(place: FsspecPlace) -> None:
    place.put("a.json", io.BytesIO(b"before"))
    before = place.list("")
    subprocess.run([sys.executable, "-c", _REPLACE, place.url], check=True)
    after = place.stat("a.json")
    assert after is not None
    assert (after.size, after.version == before[0].version) == (7, False)
    assert place.list("") == [after]


def test_only_what_is_read_is_sent(place: FsspecPlace, store: ObjectStore) -> None:
    place.put("large", io.BytesIO(bytes(range(256)) * 8 * 4096))
    assert store.sent < 0.1 * MIB
    with place.open("large") as file:
        file.seek(-3, io.SEEK_END)
        assert file.read() == b"\xfd\xfe\xff"
        file.seek(256)
        assert file.read(2) == b"\x00\x01"
    assert store.sent < 0.1 * MIB
    target = io.BytesIO()
    place.get("large", target)
    assert 8 * MIB < store.sent < 8.1 * MIB


class Killed(BaseException):
    pass


class Breaking(io.BytesIO):
    """Ends in the middle, as a process does that is told to end."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= len(self.getbuffer()) // 2:
            raise Killed
        return super().read(size)


@pytest.mark.parametrize("size", [16 * MIB, 106 * MIB], ids=["in one piece", "in parts"])
def test_a_broken_upload_leaves_nothing_under_the_name(place: FsspecPlace, store: ObjectStore, size: int) -> None:
    for held in (None, b"before"):
        if held:
            place.put("a.json", io.BytesIO(held))
        with pytest.raises(Killed):
            place.put("a.json", Breaking(bytes(size)))
        assert [(found.name, found.size) for found in place.list("")] == ([("a.json", 6)] if held else [])
        assert store.unfinished() == []


_UPLOAD = """
import sys
from phi_assets.dataset.files.places import FsspecPlace

class Half:
    pieces = 13
    def read(self, size):
        if not self.pieces:
            print("half", flush=True)
            sys.stdin.read()
        self.pieces -= 1
        return bytes(size)

FsspecPlace(sys.argv[1]).put("a.json", Half())
"""


def test_a_killed_upload_leaves_nothing_under_the_name(place: FsspecPlace, store: ObjectStore) -> None:
    command = [sys.executable, "-c", _UPLOAD, place.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as upload:
        assert upload.stdout is not None
        assert upload.stdout.readline() == "half\n"
        upload.send_signal(signal.SIGKILL)
    assert store.unfinished() == [f"{place.url.rpartition('/')[2]}/a.json"]
    assert place.stat("a.json") is None
    assert place.list("") == []
    place.put("a.json", io.BytesIO(b"whole"))
    found = place.stat("a.json")
    assert found is not None
    assert found.size == 5


def test_another_machine_fetches_a_file_once(place: FsspecPlace, store: ObjectStore, tmp_path: Path) -> None:
    one, two = (DataStorage(place.url, tmp_path / name) for name in ("one", "two"))
    assert one.problem() == ""
    path = one.folder / "scoring" / "answers.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(secrets.token_bytes(MIB))
    kept = one.keep(AnswersRef(path=DataFile.at(path), rows=1, fingerprint="a", model_id="m", action="scored"))
    read = AnswersRef.model_validate_json(kept.model_dump_json(), context={"keeper": two})
    assert store.sent < 0.1 * MIB
    assert Path(read.path).read_bytes() == path.read_bytes()
    assert MIB < store.sent < 1.1 * MIB
    assert Path(read.path).is_relative_to(two.folder)
    assert store.sent == 0
    assert str(read.path) == f"{place.url}/{kept.path.name}"


def test_a_source_is_read_row_group_by_row_group(place: FsspecPlace, store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for shard in write_shards(source, "train_sft", long_rows(4000), shards=2, group=100):
        place.put(shard.relative_to(source).as_posix(), io.BytesIO(shard.read_bytes()))
    size = sum(found.size for found in place.list(""))
    storage = DataStorage.local(tmp_path / "data")

    def raw(where: str) -> SplitRef:
        section = DatasetSection.model_validate({"source": "local", "path": where})
        return storage.keep(fetch_split(section, "train_sft", storage.folder, quiet, storage))

    here, there = raw(str(source)), raw(place.url)
    proven = store.sent
    samples = [
        prepare_split(ref, SampleSection(percent=5), ContractSection(), tmp_path / name, quiet)[0]
        for name, ref in (("here", here), ("there", there))
    ]
    read = store.sent
    print(f"{place.url}: {read:,} of {size:,} bytes, after {proven:,} to prove the schema")
    assert samples[0].sha256 == samples[1].sha256
    assert 0.04 * size < read < 0.08 * size
    assert not (storage.folder / "fetched").exists()
    place.put("data/train_sft-00000-of-00002.parquet", io.BytesIO(b"another"))
    with pytest.raises(DatasetError, match="has gone since raw_train_sft was materialized"):
        prepare_split(there, SampleSection(percent=5), ContractSection(), tmp_path / "changed", quiet)
