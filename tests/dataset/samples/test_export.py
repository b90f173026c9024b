"""The bare sample: the raw rows, nothing else, and the file of before until the new one is whole."""

import os
from pathlib import Path

import pytest

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.samples.export import export_jsonl
from phi_assets.dataset.samples.prepare import prepare_split
from tests.dataset.shards import make_odd_rows, make_rows, quiet, raw_split

HALF = SampleSection(percent=50)


@pytest.mark.parametrize("mode", ["head", "hash"])
def test_it_holds_what_a_prepared_sample_holds_that_lost_nothing(tmp_path: Path, mode: str) -> None:
    ref = raw_split(tmp_path, make_rows(3000), shards=3, group=100)
    section = SampleSection.model_validate({"mode": mode, "percent": 30})
    size = export_jsonl(ref, section, tmp_path / "new" / "bare.jsonl")
    (sample,) = prepare_split(ref, section, ContractSection(), tmp_path / "out", quiet)
    content = (tmp_path / "new" / "bare.jsonl").read_bytes()
    assert content == Path(sample.jsonl).read_bytes()
    assert size == len(content) == sample.size_bytes


def test_rows_stay_in_order_though_several_threads_make_them(tmp_path: Path) -> None:
    """Many parts of very different sizes, so that later ones are ready earlier."""
    rows = make_rows(60)
    for number, row in enumerate(rows):
        row["messages"][1]["content"] += "x" * (2_000_000 if number % 9 == 0 else 10)
    ref = raw_split(tmp_path, rows, shards=20, group=1)
    export_jsonl(ref, SampleSection(percent=100), tmp_path / "bare.jsonl")
    assert list(read_jsonl(tmp_path / "bare.jsonl")) == rows


def test_rows_that_break_the_contract_stay_as_they_are(tmp_path: Path) -> None:
    rows = make_odd_rows(400)
    ref = raw_split(tmp_path, rows, shards=2, group=30)
    export_jsonl(ref, HALF, tmp_path / "bare.jsonl")
    nothing = {"content": None, "role": None}
    whole = [
        row | {"messages": row["messages"] and [message or nothing for message in row["messages"]]} for row in rows
    ]
    assert list(read_jsonl(tmp_path / "bare.jsonl")) == whole[:200]


def test_the_newest_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "bare.jsonl"
    for seed, percent in ((1, 100), (2, 10), (3, 50)):
        rows = make_rows(100, seed)
        export_jsonl(raw_split(tmp_path / "raw", rows), SampleSection(percent=percent), path)
        assert list(read_jsonl(path)) == rows[:percent]
    assert sorted(found.name for found in tmp_path.iterdir() if not found.name.endswith(".lock")) == [
        "bare.jsonl",
        "raw",
    ]


@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_file_that_cannot_be_read_leaves_the_one_before(tmp_path: Path, damage: str) -> None:
    ref = raw_split(tmp_path / "raw", make_rows(2000), shards=3, group=50)
    path = tmp_path / "bare.jsonl"
    export_jsonl(ref, HALF, path)
    good = path.read_bytes()
    shard = Path(ref.files[-1])
    content = bytearray(shard.read_bytes())
    if damage == "gone":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(content[: len(content) // 2])
    else:
        content[100 : len(content) // 2] = os.urandom(len(content) // 2 - 100)
        shard.write_bytes(content)
    with pytest.raises(
        DatasetError, match=rf"Split 'train_sft' of .* cannot be read: {shard.name} is damaged at or after"
    ):
        export_jsonl(ref, SampleSection(percent=100), path)
    assert path.read_bytes() == good
    assert sorted(found.name for found in tmp_path.iterdir() if not found.name.endswith(".lock")) == [
        "bare.jsonl",
        "raw",
    ]
