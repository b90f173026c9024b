"""Data in a folder and at a URL: what a ref names is found by every machine, whole, once."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pytest

from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.places import FsspecPlace, Place
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.refs import AnswersRef, DataFile, Ref

TEXT = b'{"messages": []}\n' * 1000


class Counting(FsspecPlace):
    """A place that knows what was asked of it."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def put(self, name: str, source: BinaryIO) -> None:
        self.asked.append(f"put {name}")
        super().put(name, source)

    def get(self, name: str, target: BinaryIO) -> None:
        self.asked.append(f"get {name}")
        super().get(name, target)


class Machine:
    """A folder of its own, and what is shared with others."""

    def __init__(self, folder: Path, url: str) -> None:
        self.place = Counting(url)
        self.storage = DataStorage(url, folder, lambda _: self.place)

    def write(self, name: str, content: bytes = TEXT) -> Path:
        path = self.storage.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def read(self, ref: Ref, kind: Any = AnswersRef) -> Any:
        """The ref as a step of this machine gets it."""
        return kind.model_validate_json(ref.model_dump_json(), context={"keeper": self.storage})


def ref_of(path: Path) -> AnswersRef:
    return AnswersRef(path=DataFile.at(path), rows=1, fingerprint="a", model_id="m", action="scored")


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Both have no upload that appears whole."""
    return f"memory://{tmp_path}" if request.param == "memory" else f"{tmp_path}/shared"


def machines(tmp_path: Path, url: str) -> tuple[Machine, Machine]:
    return Machine(tmp_path / "one", f"memory://{url}"), Machine(tmp_path / "two", f"memory://{url}")


def test_in_a_local_folder_nothing_is_copied_and_names_are_relative(tmp_path: Path) -> None:
    storage = DataStorage.local(tmp_path / "data")
    path = Machine(tmp_path / "data", str(tmp_path / "data")).write("sampled/ab/train_sft.jsonl")
    before = path.stat()
    kept = storage.keep(ref_of(path))
    assert json.loads(kept.model_dump_json())["path"] == {"name": "sampled/ab/train_sft.jsonl", "size": len(TEXT)}
    assert path.stat() == before
    assert Path(kept.path) == path
    assert str(kept.path) == str(path)
    assert [file for file in (tmp_path / "data").rglob("*") if file.is_file()] == [path]
    moved = DataStorage.local(tmp_path / "moved")
    os.rename(tmp_path / "data", tmp_path / "moved")
    read = AnswersRef.model_validate_json(kept.model_dump_json(), context={"keeper": moved})
    assert Path(read.path).read_bytes() == TEXT


def test_a_file_outside_the_folder_and_a_ref_of_an_earlier_release_have_absolute_paths(tmp_path: Path) -> None:
    path = Machine(tmp_path / "elsewhere", str(tmp_path)).write("own.parquet")
    storage = DataStorage.local(tmp_path / "data")
    assert storage.keep(ref_of(path)).path.name == str(path)
    old = json.loads(ref_of(path).model_dump_json())
    assert old["path"] == str(path)
    for keeper in (storage, Machine(tmp_path / "cache", "memory://old").storage):
        assert Path(AnswersRef.model_validate(old, context={"keeper": keeper}).path) == path


def test_another_machine_fetches_a_file_once(tmp_path: Path) -> None:
    one, two = machines(tmp_path, f"{tmp_path}")
    kept = one.storage.keep(ref_of(one.write("sampled/ab/train_sft.jsonl")))
    assert kept.path.name == f"sampled/{kept.path.sha256[:32]}/train_sft.jsonl"
    assert str(kept.path) == f"memory://{tmp_path}/{kept.path.name}"
    assert one.place.asked == [f"put {kept.path.name}"]
    read = two.read(kept)
    assert [Path(read.path).read_bytes() for _ in range(3)] == [TEXT] * 3
    assert Path(two.read(kept).path).is_relative_to(two.storage.folder)
    assert two.place.asked == [f"get {kept.path.name}"]
    # Who has made it does not fetch it, and nobody sends it again.
    assert Path(one.read(kept).path).read_bytes() == TEXT
    assert two.storage.keep(ref_of(two.write("sampled/ab/train_sft.jsonl"))) == kept
    assert one.place.asked == [f"put {kept.path.name}"]
    assert two.place.asked == [f"get {kept.path.name}"]
    assert two.storage.is_there(two.storage.file_at(str(kept.path)))
    assert two.storage.file_at(str(kept.path)).sha256 == kept.path.sha256[:32]


def test_a_file_whose_name_says_no_content_is_fetched_in_its_present_state(tmp_path: Path) -> None:
    place = FsspecPlace(f"memory://{tmp_path}")
    storage = DataStorage(place.url, tmp_path / "cache")
    where = f"{place.url}/sampled/ab12/train_sft.keys.parquet"
    assert not storage.file_at(where).is_there
    place.put("sampled/ab12/train_sft.keys.parquet", io.BytesIO(TEXT))
    found = storage.file_at(where)
    assert found.is_there
    assert Path(found).read_bytes() == TEXT
    place.put("sampled/ab12/train_sft.keys.parquet", io.BytesIO(TEXT * 2))
    assert not found.is_there
    assert Path(storage.file_at(where)).read_bytes() == TEXT * 2


def test_what_has_changed_is_told_and_is_not_in_the_cache(tmp_path: Path) -> None:
    one, two = machines(tmp_path, f"{tmp_path}")
    kept = one.storage.keep(ref_of(one.write("scoring/a.json")))
    FsspecPlace(one.place.url).put(kept.path.name, io.BytesIO(TEXT[::-1]))
    with pytest.raises(DatasetError, match=r"is not what it was .*materialize its asset again"):
        Path(two.read(kept).path)
    assert [file for file in two.storage.folder.rglob("*") if file.is_file() and ".locks" not in file.parts] == []
    fsspec.filesystem("memory").rm(f"{tmp_path}/{kept.path.name}")
    assert not two.storage.is_there(two.read(kept).path)
    with pytest.raises(DatasetError, match=r"cannot be read \(FileNotFoundError"):
        Path(two.read(kept).path)


class Replaced(FsspecPlace):
    """A file of it is replaced by one of the same size while it is read."""

    def get(self, name: str, target: BinaryIO) -> None:
        with self.open(name) as source:
            target.write(source.read(100))
            self.put(name, io.BytesIO(TEXT[::-1]))
        with self.open(name) as source:
            source.seek(100)
            target.write(source.read())


def test_a_file_at_a_url_that_changes_while_it_is_fetched_is_not_kept(tmp_path: Path) -> None:
    place = FsspecPlace(f"memory://{tmp_path}")
    place.put("train.jsonl", io.BytesIO(TEXT))
    storage = DataStorage(str(tmp_path / "data"), tmp_path / "data", Replaced)
    found = storage.files_at(place.url)[1]["train.jsonl"]
    with pytest.raises(DatasetError, match=r"train.jsonl has changed or gone since it was looked at: run again"):
        Path(found)
    assert [path for path in (storage.folder / "fetched").rglob("*") if path.is_file()] == []
    now = DataStorage(storage.root, storage.folder).files_at(place.url)[1]["train.jsonl"]
    assert Path(now).read_bytes() == TEXT[::-1]


_FETCH = """
import sys
from pathlib import Path
from phi_assets.dataset.files.storage import DataStorage
from tests.dataset.slow_place import Slow

url, folder = sys.argv[1:]
(file,) = DataStorage(url, Path(folder), Slow).files_at(url)[1].values()
Path(file)
"""


def test_a_killed_fetch_leaves_nothing_under_the_name_and_the_next_one_nothing_besides(tmp_path: Path) -> None:
    url = f"local://{tmp_path}/shared"
    FsspecPlace(url).put("train.jsonl", io.BytesIO(TEXT))
    storage = DataStorage(url, tmp_path / "data")
    (file,) = storage.files_at(url)[1].values()
    for _ in range(2):
        command = [sys.executable, "-c", _FETCH, url, str(storage.folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT) as fetch:
            assert fetch.stdout is not None
            assert fetch.stdout.readline() == "half\n"
            fetch.send_signal(signal.SIGKILL)
        (left,) = (path for path in (storage.folder / "fetched").rglob("*") if path.is_file())
        assert left.name == ".train.jsonl.partial"
    assert Path(file).read_bytes() == TEXT
    assert [path for path in (storage.folder / "fetched").rglob("*") if path.is_file()] == [Path(file)]


def test_a_file_of_a_folder_on_another_machine_says_so(tmp_path: Path) -> None:
    local = DataStorage.local(tmp_path / "data")
    kept = local.keep(ref_of(Machine(tmp_path / "data", "").write("scoring/a.json")))
    with pytest.raises(DatasetError, match="was made where PHI_DATA was a folder on one machine"):
        Path(Machine(tmp_path / "cache", "memory://b").read(kept).path)
    with pytest.raises(DatasetError, match="is no name of a file"):
        Path(Machine(tmp_path / "cache", "memory://b").read(ref_of(Path("../../etc/passwd"))).path)


def test_whether_anything_can_be_kept_is_looked_at(tmp_path: Path) -> None:
    storage = DataStorage.local(tmp_path / "data")
    assert storage.problem() == ""
    assert list(storage.folder.iterdir()) == []
    (tmp_path / "file").touch()
    assert "PHI_DATA cannot be written" in DataStorage.local(tmp_path / "file" / "data").problem()
    assert Machine(tmp_path / "one", f"memory://{tmp_path}").storage.problem() == ""


class Killed(BaseException):
    pass


class Breaking(io.BytesIO):
    """Ends in the middle, as a process does that is killed."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise Killed
        return super().read(100)


def test_a_broken_upload_leaves_nothing_under_the_name(url: str) -> None:
    place: Place = FsspecPlace(url)
    for held in (None, b"before"):
        if held:
            place.put("refs/a.json", io.BytesIO(held))
        with pytest.raises(Killed):
            place.put("refs/a.json", Breaking(TEXT))
        assert [(found.name, found.size) for found in place.list("refs")] == ([("refs/a.json", 6)] if held else [])
        assert (place.stat("refs/a.json") is None) == (held is None)


def test_what_is_saved_under_a_name_is_recalled_by_others(tmp_path: Path) -> None:
    one, two = machines(tmp_path, f"{tmp_path}")
    path, there = one.write("scoring/answers-a.json"), two.storage.folder / "scoring" / "answers-a.json"
    two.storage.recall(there)
    assert not there.exists()
    for content in (TEXT, TEXT * 2):
        path.write_bytes(content)
        one.storage.save(path)
        two.storage.recall(there)
        assert there.read_bytes() == content


@pytest.mark.parametrize(("url", "extra"), [("s3://bucket/a", "s3"), ("gs://bucket/a", "gcs")])
def test_a_missing_library_is_named_with_its_extra(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DatasetError, match=rf"pip install 'phi_assets\[{extra}\]'"):
        FsspecPlace(url).stat("a")
