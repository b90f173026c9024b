"""Sources at a URL: found and read like a folder, and no more of them than is needed."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.places import FsspecPlace
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.samples.first_look import look_at_data
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.raw_splits import fetch_split, latest_revision
from phi_assets.refs import SampleRef, SplitRef
from tests.dataset.shards import Row, long_rows, make_rows, quiet, write_shards


class Counted(io.RawIOBase):
    """A file that says how much of it is read."""

    def __init__(self, file: BinaryIO, place: "Counting") -> None:
        super().__init__()
        self._file, self._place = file, place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        self._place.read += len(piece)
        return len(piece)


class Counting(FsspecPlace):
    """A place that knows how many bytes were read of it."""

    read = 0

    def open(self, name: str) -> Any:
        return Counted(super().open(name), self)


class World:
    """The same files in a folder and at a URL."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "source"
        self.url = f"memory://{folder}/source"
        self.places: dict[str, Counting] = {}
        self.storage = DataStorage(str(folder / "data"), folder / "data", self.place)

    def place(self, url: str) -> Counting:
        return self.places.setdefault(url, Counting(url))

    def upload(self) -> int:
        """Their size."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        for file in files:
            self.place(self.url).put(file.relative_to(self.folder).as_posix(), io.BytesIO(file.read_bytes()))
        return sum(file.stat().st_size for file in files)

    @property
    def read(self) -> int:
        """Bytes since the last time that it was asked."""
        total = sum(place.read for place in self.places.values())
        for place in self.places.values():
            place.read = 0
        return total

    def section(self, place: str | Path, **choices: Any) -> DatasetSection:
        return DatasetSection.model_validate({"source": "local", "path": place, **choices})

    def fetch(self, place: str | Path, split: str = "train_sft", **choices: Any) -> SplitRef:
        return self.storage.keep(
            fetch_split(self.section(place, **choices), split, self.storage.folder, quiet, self.storage)
        )

    def sample(self, raw: SplitRef, percent: float, name: str) -> SampleRef:
        (ref,) = prepare_split(
            raw, SampleSection(percent=percent), ContractSection(), self.storage.folder / name, quiet
        )
        return ref


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_five_percent_are_read_in_part_and_are_the_same_rows(world: World) -> None:
    write_shards(world.folder, "train_sft", long_rows(4000), shards=2, group=100)
    size = world.upload()
    here, there = world.fetch(world.folder), world.fetch(world.url)
    assert (there.rows, there.size_bytes, there.source) == (here.rows, here.size_bytes, world.url)
    proven = world.read
    for percent, most in ((5, 0.08), (100, 1.05)):
        ours, same = world.sample(here, percent, f"here-{percent}"), world.sample(there, percent, f"there-{percent}")
        assert same.sha256 == ours.sha256
        read = world.read
        print(f"{percent} %: {read:,} of {size:,} bytes, after {proven:,} to prove the schema")
        assert ours.rows * size / here.rows * 0.9 < read < most * size
    assert proven < 0.1 * size
    assert not (world.storage.folder / "fetched").exists()
    again = SplitRef.model_validate_json(there.model_dump_json(), context={"keeper": world.storage})
    assert world.sample(again, 5, "again").sha256 == world.sample(here, 5, "here").sha256


def test_other_files_are_fetched_once(world: World) -> None:
    world.folder.mkdir()
    lines = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 50
    (world.folder / "train.jsonl").write_text(lines, encoding="utf-8")
    world.upload()
    here, there = world.fetch(world.folder), world.fetch(world.url)
    assert there.sha256 == here.sha256
    assert there.part == here.part == "train"
    assert world.read == len(lines)
    assert world.fetch(world.url) == there
    assert world.read == 0
    alone = world.fetch(f"{world.url}/train.jsonl")
    assert (alone.sha256, alone.rows) == (there.sha256, 50)


def _alpaca(row: Row) -> Row:
    return {"instruction": row["prompt"], "output": row["messages"][-1]["content"]}


def _prompt_completion(row: Row) -> Row:
    return {"prompt": row["prompt"], "completion": row["messages"][-1]["content"]}


def _sharegpt(row: Row) -> Row:
    return {"conversations": [{"from": each["role"], "value": each["content"]} for each in row["messages"]]}


def write_columns(folder: Path, rows: list[Row], shards: int = 2) -> None:
    """Parquet in row groups of 100 rows; beside each conversation are 8 kB that are none of it."""
    folder.mkdir(exist_ok=True)
    dice, step = random.Random(1), len(rows) // shards
    for number in range(shards):
        taken = [row | {"embedding": dice.randbytes(8000)} for row in rows[number * step :][:step]]
        path = folder / f"train_sft-{number:05d}-of-{shards:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(taken), path, row_group_size=100)


@pytest.mark.parametrize("write", [_sharegpt, _alpaca, _prompt_completion])
def test_parquet_in_another_format_is_read_in_part_and_never_fetched(world: World, write: Callable[[Row], Row]) -> None:
    write_columns(world.folder, [write(row) for row in long_rows(2000)])
    size = world.upload()
    here, there = world.fetch(world.folder), world.fetch(world.url)
    assert (there.sha256, there.sources, there.not_carried) == (here.sha256, here.sources, {"embedding": 2000})
    read = world.read
    print(f"{write.__name__}: {read:,} of {size:,} bytes")
    assert 0.2 * size < read < 0.45 * size
    assert not (world.storage.folder / "fetched").exists()
    # What is there is known by what the place says of it: footers are read, to see whether it could lie where it is.
    assert world.fetch(world.url) == there
    assert world.read < 0.01 * size
    assert world.sample(there, 5, "there").sha256 == world.sample(here, 5, "here").sha256
    assert world.read == 0


def test_parquet_that_changes_while_it_is_read_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_columns(world.folder, [_alpaca(row) for row in long_rows(200)])
    world.upload()
    listed = world.storage.files_at(world.url)
    write_columns(world.folder, [_alpaca(row) for row in make_rows(300)])
    world.upload()
    with monkeypatch.context() as patch:
        patch.setattr(DataStorage, "files_at", lambda *_: listed)
        with pytest.raises(DatasetError, match=r"memory://.*train_sft-00000.* has changed or gone .*: run again"):
            world.fetch(world.url)
    assert [path for path in (world.storage.folder / "converted").rglob("*.parquet") if path.is_file()] == []
    assert world.fetch(world.url).rows == 300


def test_a_source_that_changes_while_it_is_sampled_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(world.folder, "train_sft", long_rows(1000), shards=2, group=100)
    world.upload()
    raw = world.fetch(world.url)
    second, opened = Path(raw.files[1].name).name, Counting.open

    replaced: list[str] = []

    def replaced_behind(place: Counting, name: str) -> Any:
        file = opened(place, name)
        if name.endswith(second) and not replaced:
            replaced.append(name)
            write_shards(world.folder, "train_sft", long_rows(1000)[::-1], shards=2, group=100)
            world.upload()
        return file

    monkeypatch.setattr(Counting, "open", replaced_behind)
    with pytest.raises(DatasetError, match="has gone since raw_train_sft was materialized"):
        world.sample(raw, 100, "changed")
    assert [path.name for path in (world.storage.folder / "changed").glob("*.*") if path.suffix != ".lock"] == []


def test_a_revision_changes_with_the_files(world: World) -> None:
    write_shards(world.folder, "train_sft", make_rows(10))
    world.upload()
    section = world.section(world.url)
    before, raw = latest_revision(section, storage=world.storage), world.fetch(world.url)
    assert latest_revision(section, storage=world.storage) == before
    write_shards(world.folder, "train_sft", make_rows(11, seed=2))
    world.upload()
    assert latest_revision(section, storage=world.storage) != before
    with pytest.raises(DatasetError, match="has gone since raw_train_sft was materialized"):
        world.sample(raw, 100, "changed")


def test_preflight_looks_at_the_first_rows(world: World) -> None:
    for split, rows in (("train_sft", long_rows(2000)), ("test_sft", make_rows(50))):
        write_shards(world.folder, split, rows, group=100)
    size = world.upload()
    section = world.section(world.url)
    look = look_at_data(
        Recipe(name="mine", dataset=section), section, world.storage.folder, quiet, storage=world.storage
    )
    assert look.problems == []
    train = look.of("train_sft")
    assert train is not None
    assert train.head is not None
    assert (train.head.rows, train.head.is_counted) == (2000, True)
    assert world.read < size / 4


def test_what_cannot_be_had_says_where(world: World) -> None:
    with pytest.raises(DatasetError, match=rf"Nothing is at {world.url}"):
        world.fetch(world.url)
    write_shards(world.folder, "train_sft", make_rows(10))
    world.upload()
    with pytest.raises(DatasetError, match=rf"{world.url} has no split 'mine': there are train_sft"):
        world.fetch(world.url, splits={"train_sft": "mine"})
    with pytest.raises(ValueError, match="has what opens the storage in the URL"):
        world.section("https://a.blob.core.windows.net/c?sig=abc")
