"""Files are there whole or not at all, their bytes follow from their rows, and their hashes from their bytes."""

import hashlib
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from phi_assets.dataset.files.write import (
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    HashingFile,
    InOrder,
    JsonLinesFile,
    ParquetFile,
    Written,
    checksum,
    publish,
    staging,
)
from phi_assets.dataset.samples.split_files import QUARANTINE_SCHEMA
from phi_assets.dataset.sources.schema import ARROW_SCHEMA, POLARS_SCHEMA
from tests.dataset.shards import Row, make_odd_rows, make_rows

NOTHING = {"content": None, "role": None}


def frame(rows: list[Row]) -> pl.DataFrame:
    """The rows as they are read: without messages that are null."""
    whole = [row | {"messages": row["messages"] and [m or NOTHING for m in row["messages"]]} for row in rows]
    return pl.DataFrame(whole, schema=POLARS_SCHEMA)


def sizes(rows: pl.DataFrame) -> pl.Series:
    content = pl.element().struct.field("content")
    return rows.select(pl.col("messages").list.eval(content.str.len_bytes()).list.sum().fill_null(0)).to_series()


def write_parquet(path: Path, rows: pl.DataFrame, cuts: list[int], schema: pa.Schema = ARROW_SCHEMA) -> Written | None:
    file = ParquetFile(path, schema)
    for first, last in zip([0, *cuts], [*cuts, rows.height], strict=True):
        part = rows[first:last]
        file.write(part, sizes(part))
    return file.close()


def proven(path: Path, written: Written | None) -> Written:
    """The hashes, which are those of the file."""
    assert written is not None
    content = path.read_bytes()
    assert written.size == len(content)
    assert written.checksum == checksum(path) == xxhash.xxh3_128_hexdigest(content)
    assert written.sha256 in ("", hashlib.sha256(content).hexdigest())
    return written


def test_a_file_knows_its_hashes(tmp_path: Path) -> None:
    with HashingFile(tmp_path / "file", with_sha256=True) as file:
        for chunk in (b"one", b"", bytearray(b"two"), memoryview(b"three" * 100_000)):
            assert file.write(chunk) == len(chunk)
    assert (tmp_path / "file").read_bytes() == b"onetwo" + b"three" * 100_000
    assert proven(tmp_path / "file", file.written).sha256
    with HashingFile(tmp_path / "empty") as file:
        pass
    assert proven(tmp_path / "empty", file.written) == Written(0, xxhash.xxh3_128_hexdigest(b""), "")
    with pytest.raises(FileExistsError):
        HashingFile(tmp_path / "file")


def test_json_lines_are_written_as_they_come(tmp_path: Path) -> None:
    rows = frame(make_odd_rows(500))
    files = {}
    for name, cuts in (("whole", []), ("cut", [0, 1, 1, 77, 499])):
        path = tmp_path / f"{name}.jsonl"
        file = JsonLinesFile(path)
        for first, last in zip([0, *cuts], [*cuts, 500], strict=True):
            file.write(rows[first:last])
        assert proven(path, file.close()).sha256
        files[name] = path.read_bytes()
    assert files["whole"] == files["cut"]
    assert files["whole"].endswith(b"}\n")
    assert files["whole"].count(b"\n") == 500
    file = JsonLinesFile(tmp_path / "empty.jsonl")
    file.write(rows[:0])
    assert file.close().size == 0


@pytest.mark.parametrize("words", [12, 400])
def test_parquet_depends_on_the_rows_not_on_the_batches(tmp_path: Path, words: int) -> None:
    """Long texts fill several pages of each column, of which none may end where a batch does."""
    rows = frame(make_odd_rows(2500, words=words))
    cut = random.Random(5)
    hashes = set()
    for number, cuts in enumerate(
        ([], [1], [999, 1001], list(range(10, 2500, 10)), sorted(cut.sample(range(2500), 9)))
    ):
        path = tmp_path / f"{number}.parquet"
        hashes.add(proven(path, write_parquet(path, rows, cuts)).checksum)
    assert len(hashes) == 1
    assert pq.read_table(tmp_path / "0.parquet").to_pylist() == rows.to_dicts()
    footer = pq.read_metadata(tmp_path / "0.parquet")
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 500]
    assert pq.read_schema(tmp_path / "0.parquet").equals(ARROW_SCHEMA)


def test_row_groups_of_long_rows_are_short(tmp_path: Path) -> None:
    rows = make_rows(30)
    for number, row in enumerate(rows):
        row["messages"][1]["content"] = "abcdefgh" * ((1 + number % 4) << 17)
    whole = frame(rows)
    written = {write_parquet(tmp_path / f"{len(cuts)}", whole, cuts) for cuts in ([], [3, 4, 21], list(range(1, 30)))}
    assert len(written) == 1
    footer = pq.read_metadata(tmp_path / "0")
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    assert sum(group.num_rows for group in groups) == 30
    assert len(groups) == 3
    assert max(group.total_byte_size for group in groups) < ROW_GROUP_BYTES + (5 << 20)
    assert pq.read_table(tmp_path / "0").to_pylist() == whole.to_dicts()


def test_a_parquet_file_without_rows_does_not_come_to_be(tmp_path: Path) -> None:
    rows = frame(make_rows(3))
    assert write_parquet(tmp_path / "none", rows[:0], [0, 0]) is None
    assert list(tmp_path.iterdir()) == []


def test_quarantine_has_its_columns(tmp_path: Path) -> None:
    rows = frame(make_odd_rows(20)).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    reasons = [["schema", "roles"] if number % 2 else [] for number in range(20)]
    rows = rows.with_columns(rules=pl.Series(reasons, dtype=pl.List(pl.String)), problem=pl.lit("it's odd"))
    write_parquet(tmp_path / "out", rows, [7], QUARANTINE_SCHEMA)
    found = pq.read_table(tmp_path / "out")
    assert found.schema.equals(QUARANTINE_SCHEMA)
    assert found.to_pylist() == rows.select(QUARANTINE_SCHEMA.names).to_dicts()


def test_calls_are_made_in_order_while_the_caller_goes_on() -> None:
    made: list[int] = []
    may_begin = threading.Event()
    caller = threading.get_ident()

    def note(number: int) -> None:
        assert threading.get_ident() != caller
        assert may_begin.wait(60)
        made.append(number)

    with InOrder() as calls:
        calls.call(note, 0)
        assert made == []
        may_begin.set()
        for number in range(1, 200):
            calls.call(note, number)
            # Few wait at a time, else memory would fill with batches.
            assert number - len(made) <= 2
    assert made == list(range(200))


def test_the_first_error_of_a_call_is_raised() -> None:
    made: list[int] = []

    def fail(number: int) -> None:
        if number == 3:
            raise OSError(f"call {number}")
        made.append(number)

    def make(count: int) -> None:
        with InOrder() as calls:
            for number in range(count):
                calls.call(fail, number)

    for count in (4, 5, 100):
        made.clear()
        with pytest.raises(OSError, match="call 3"):
            make(count)
        assert made[:3] == [0, 1, 2]
        assert len(made) <= 5


def test_an_error_of_the_caller_is_raised_and_what_waits_is_not_done() -> None:
    made: list[int] = []
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert may_end.wait(60)
        made.append(1)

    def make() -> None:
        with InOrder() as calls:
            calls.call(slow)
            assert begun.wait(60)
            threading.Timer(0.1, may_end.set).start()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        make()
    # What had begun is over, so its file can be removed.
    assert made == [1]


def test_staging_is_empty_at_first_and_gone_at_last(tmp_path: Path) -> None:
    destination = tmp_path / "new" / "folder"
    with staging(destination, "train_sft") as folder:
        assert folder.parent == destination
        assert list(folder.iterdir()) == []
        (folder / "file").write_text("new", encoding="utf-8")
        (destination / "file").write_text("old", encoding="utf-8")
        assert publish(folder / "file", destination) == destination / "file"
        (folder / "rest").mkdir()
    assert (destination / "file").read_text(encoding="utf-8") == "new"
    assert [path.name for path in destination.iterdir() if not path.name.endswith(".lock")] == ["file"]


def test_staging_is_gone_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with staging(tmp_path, "train_sft") as folder:
            (folder / "file").write_text("half", encoding="utf-8")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob(".*.partial"))
    with staging(tmp_path, "train_sft") as folder, staging(tmp_path, "test_sft") as other:
        assert folder != other


def _hold(folder: Path, started: Any, release: Any) -> None:
    with staging(folder, "train_sft") as staged:
        (staged / "train_sft.jsonl").write_bytes(b"half a li")
        started.set()
        release.wait(60)
        (folder / "released").touch()


def test_one_process_at_a_time_writes_a_name(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    started, release = spawn.Event(), spawn.Event()
    process = spawn.Process(target=_hold, args=(tmp_path, started, release))
    process.start()
    assert started.wait(60)
    was_released: list[bool] = []

    def enter() -> None:
        with staging(tmp_path, "train_sft") as folder:
            was_released.append((tmp_path / "released").exists())
            assert list(folder.iterdir()) == []

    thread = threading.Thread(target=enter)
    thread.start()
    time.sleep(0.3)
    release.set()
    thread.join(60)
    process.join()
    assert was_released == [True]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    started, release = spawn.Event(), spawn.Event()
    process = spawn.Process(target=_hold, args=(tmp_path, started, release))
    process.start()
    assert started.wait(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [path.name for path in tmp_path.rglob("train_sft.jsonl")] == ["train_sft.jsonl"]
    with staging(tmp_path, "train_sft") as folder:
        assert list(folder.iterdir()) == []
    assert not list(tmp_path.rglob("train_sft.jsonl"))
