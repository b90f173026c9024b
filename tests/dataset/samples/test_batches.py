"""Raw rows in batches: all of them, in order, a few megabytes at a time, whatever the files look like."""

import multiprocessing
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.samples.batches import BATCH_SCHEMA, plan_parts, read_batches, read_part
from phi_assets.dataset.samples.export import export_jsonl
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.dataset.sources.schema import CONVERTED_SCHEMA
from phi_assets.refs import DataFile, SplitRef
from tests.dataset.shards import SCHEMA, Row, make_odd_rows, make_rows, quiet, raw_split, write_shards

MB = 1 << 20
NOTHING = {"content": None, "role": None}

OTHER_KINDS = pa.schema(
    [
        ("score", pa.list_(pa.float64())),
        (
            "messages",
            pa.large_list(
                pa.struct([("name", pa.string()), ("role", pa.large_string()), ("content", pa.large_string())])
            ),
        ),
        ("prompt_id", pa.large_string()),
        ("prompt", pa.string_view()),
    ]
)
"""Columns in another order and of other kinds, further ones, and message fields that nobody asks for."""


def as_read(rows: Sequence[Row]) -> list[Row]:
    """What the batches of these rows hold: a message that is null has two fields that are."""
    return [
        {
            "row": number,
            "prompt": row["prompt"],
            "prompt_id": row["prompt_id"],
            "messages": row["messages"] and [message or NOTHING for message in row["messages"]],
            "problem": row.get("problem"),
            "json_line": None,
        }
        for number, row in enumerate(rows)
    ]


def split_of(files: Sequence[Path]) -> SplitRef:
    """The files just as they lie: who fetches them converts those with a column `problem`."""
    return SplitRef(
        split="train_sft",
        files=tuple(map(DataFile.at, files)),
        rows=sum(pq.read_metadata(file).num_rows for file in files),
        size_bytes=sum(file.stat().st_size for file in files),
        sha256="0" * 64,
        source="here",
    )


def read(ref: SplitRef, rows: int) -> list[Row]:
    batches = list(read_batches(ref, rows))
    assert all(batch.schema == BATCH_SCHEMA and batch.n_chunks() == 1 for batch in batches)
    return [row for batch in batches for row in batch.to_dicts()]


@pytest.mark.parametrize(("shards", "group"), [(1, 1000), (1, 1), (3, 17), (7, 1000)])
@pytest.mark.parametrize("wanted", [0, 1, 16, 17, 100, 101, 299, 300])
def test_the_first_rows_are_read_and_numbered(tmp_path: Path, shards: int, group: int, wanted: int) -> None:
    rows = make_odd_rows(300)
    ref = raw_split(tmp_path, rows, shards, group)
    assert read(ref, wanted) == as_read(rows[:wanted])
    assert sum(part.rows for part in plan_parts(ref, wanted)) == wanted


@pytest.fixture(scope="module")
def large_rows() -> list[Row]:
    """Some 45 MB of conversations, which break the contract now and then."""
    rows = make_odd_rows(2000)
    choice = random.Random(4)
    text = "".join(choice.choices('abcdefgh äöü日本😀\n"\\\u2028', k=80_000))
    for row in rows:
        for message in row["messages"] or ():
            if message and message["content"]:
                start = choice.randrange(60_000)
                message["content"] += text[start : start + choice.randrange(7_500)]
    return rows


def test_small_row_groups_are_read_together_and_large_ones_in_pieces(tmp_path: Path, large_rows: list[Row]) -> None:
    rows = large_rows
    small = raw_split(tmp_path / "small", rows, group=50)
    parts = list(plan_parts(small, len(rows)))
    assert [part.first_row for part in parts] == [sum(part.rows for part in parts[:n]) for n in range(len(parts))]
    assert all(part.size <= 16 * MB and len(part.groups) > 1 for part in parts)
    assert len(parts) < 10
    # Everything in one row group.
    large = raw_split(tmp_path / "large", rows, group=len(rows))
    (part,) = plan_parts(large, len(rows))
    assert part.size > 40 * MB
    batches = list(read_part(large, part))
    assert len(batches) > 2
    assert max(batch.estimated_size() for batch in batches) < 40 * MB
    expected = as_read(rows)
    assert pl.concat(batches).to_dicts() == expected
    assert read(small, len(rows)) == expected
    for wanted in (1, 333, 1234):
        assert read(large, wanted) == expected[:wanted]


def test_a_giant_row_group_is_prepared_like_small_ones(tmp_path: Path, large_rows: list[Row]) -> None:
    prepared = []
    for group in (1000, len(large_rows)):
        folder = tmp_path / str(group)
        ref = raw_split(folder, large_rows, group=group)
        for mode in ("head", "hash"):
            section = SampleSection.model_validate({"mode": mode, "percent": 60})
            prepare_split(ref, section, ContractSection(), folder / mode, quiet, validation=True)
            export_jsonl(ref, section, folder / mode / "bare.jsonl")
        prepared.append(
            {
                path.relative_to(folder): path.read_bytes()
                for mode in ("head", "hash")
                for path in (folder / mode).glob("[!.]*")
                if path.name != "train_sft.sample.json"
            }
        )
    small, giant = prepared
    assert len(small) == 14
    assert [name for name in small if small[name] != giant[name]] == []


def test_very_long_rows_are_read_and_written(tmp_path: Path) -> None:
    """In one row group with short ones, some have several megabytes."""
    rows = make_rows(30)
    for number, row in enumerate(rows[::3]):
        row["messages"][1]["content"] += '日本\n"' * (number * 100_000)
    ref = raw_split(tmp_path, rows, group=len(rows))
    (part,) = plan_parts(ref, len(rows))
    assert part.size > 32 * MB
    assert read(ref, len(rows)) == as_read(rows)
    (sample,) = prepare_split(ref, SampleSection(percent=100), ContractSection(), tmp_path / "out", quiet)
    assert list(read_jsonl(Path(sample.jsonl))) == rows
    assert pq.read_table(sample.parquet).to_pylist() == rows
    assert sample.violations["too_long"] >= 9


@pytest.mark.parametrize("group", [100, 5000], ids=["small row groups", "one giant row group"])
def test_columns_may_be_of_other_kinds(tmp_path: Path, large_rows: list[Row], group: int) -> None:
    ref = raw_split(tmp_path, large_rows, group=group, schema=OTHER_KINDS)
    assert Path(ref.files[0]).is_relative_to(tmp_path / "data")
    assert (next(plan_parts(ref, 1)).size > 40 * MB) == (group == 5000)
    assert read(ref, len(large_rows)) == as_read(large_rows)


@pytest.mark.parametrize("group", [100, 5000], ids=["small row groups", "one giant row group"])
def test_what_conversion_could_not_map_is_told(tmp_path: Path, large_rows: list[Row], group: int) -> None:
    rows = [
        {"prompt": "{...}", "prompt_id": row["prompt_id"], "messages": None, "problem": "it is odd"}
        if number % 50 == 0
        else {**row, "problem": None}
        for number, row in enumerate(large_rows)
    ]
    ref = split_of(write_shards(tmp_path, "train_sft", rows, group=group, schema=CONVERTED_SCHEMA))
    assert read(ref, len(rows)) == as_read(rows)
    everything = SampleSection(percent=100)
    (sample,) = prepare_split(ref, everything, ContractSection(), tmp_path / "out", quiet)
    left_out = pq.read_table(sample.quarantine, columns=["row", "problem", "rules"]).to_pylist()
    found = [row["row"] for row in left_out if row["problem"] is not None]
    assert found == list(range(0, len(rows), 50))
    assert all(row["problem"] == "it is odd" and "schema" in row["rules"] for row in left_out if row["row"] in found)


def test_shards_may_differ(tmp_path: Path) -> None:
    rows = make_rows(30)
    first, second, third = write_shards(tmp_path, "train_sft", rows, shards=3)
    pq.write_table(pa.Table.from_pylist(rows[10:20], schema=OTHER_KINDS), second)
    with_problems = [row | {"problem": None} for row in rows[20:]]
    pq.write_table(pa.Table.from_pylist(with_problems, schema=CONVERTED_SCHEMA), third)
    ref = split_of([first, second, third])
    assert read(ref, 30) == as_read(rows)
    assert read(ref, 15) == as_read(rows[:15])


def test_no_row_takes_another_ones_message(tmp_path: Path) -> None:
    """Where a message of one row is null, polars writes some JSON Lines of other rows wrong."""
    rows = make_rows(900)
    for number in (0, 300, 450, 899):
        rows[number]["messages"][-1] = None
    ref = raw_split(tmp_path, rows)
    expected = [{name: row[name] for name in SCHEMA.names} for row in as_read(rows)]
    export_jsonl(ref, SampleSection(percent=100), tmp_path / "bare.jsonl")
    assert list(read_jsonl(tmp_path / "bare.jsonl")) == expected
    (sample,) = prepare_split(ref, SampleSection(percent=100), ContractSection(), tmp_path / "out", quiet)
    assert list(read_jsonl(Path(sample.jsonl))) == [row for row in rows if row["messages"][-1]]
    assert sample.violations["schema"] == sample.rows_quarantined == 4


def _write_giant(folder: Path, rows: int) -> None:
    """Some 300 MB in one row group, compressed as on the hub."""
    choice = random.Random(0)
    text = "".join(choice.choices("abcdefghijklmnop qrstuvwxyz.", k=2_000_000))
    starts = [choice.randrange(1_990_000) for _ in range(4 * rows)]
    content = pa.array((text[start : start + 1500] for start in starts), pa.string())
    roles = pa.array(["user", "assistant"] * (2 * rows), pa.string())
    kind = SCHEMA.field("messages").type
    columns = [
        content.take(pa.array(range(0, 4 * rows, 4))),
        pa.array(map(str, range(rows)), pa.string()),
        pa.ListArray.from_arrays(
            pa.array(range(0, 4 * rows + 1, 4), pa.int32()),
            pa.StructArray.from_arrays([content, roles], fields=list(kind.value_type)),
            kind,
        ),
    ]
    (folder / "data").mkdir(parents=True)
    file = folder / "data" / "train_sft-00000-of-00001.parquet"
    pq.write_table(pa.table(columns, schema=SCHEMA), file, row_group_size=rows)


def _prepare_and_measure(folder: Path, answers: Any) -> None:
    ref = fetch_split(DatasetSection(source="local", path=folder), "train_sft", folder, quiet)
    section = SampleSection(percent=100)
    refs = prepare_split(ref, section, ContractSection(), folder / "out", quiet, validation=True)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    answers.put((sum(ref.rows for ref in refs), peak_kb))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much memory a process ever had")
def test_memory_does_not_follow_the_row_group(tmp_path: Path) -> None:
    """300 MB of text in one row group are prepared in 700 MB of memory, of which libraries take a quarter."""
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    for target, arguments in ((_write_giant, (tmp_path, 40_000)), (_prepare_and_measure, (tmp_path, answers))):
        process = spawn.Process(target=target, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == 0
    (part,) = plan_parts(fetch_split(DatasetSection(source="local", path=tmp_path), "train_sft", tmp_path, quiet), 1)
    assert part.size > 280e6
    rows, peak_kb = answers.get()
    assert rows == 40_000
    assert peak_kb < 700_000
