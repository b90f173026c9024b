"""Which rows a sample holds, and that its files are whole, equal for equal input, and kept."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sample import head_rows, read_jsonl, sample_split
from phi_assets.dataset.source import fetch_split
from phi_assets.dataset.write import staging
from phi_assets.fingerprint import file_sha256
from phi_assets.recipe import DatasetSection, SampleSection
from phi_assets.refs import SampleRef, SplitRef
from tests.dataset.shards import make_rows, write_shards


def quiet(_: str) -> None:
    """Says nothing."""


def raw(folder: Path, rows: Sequence[dict[str, Any]], shards: int = 1, group: int = 1000) -> SplitRef:
    write_shards(folder, "train_sft", rows, shards, group)
    return fetch_split(DatasetSection(source="local", path=folder), "train_sft", folder, quiet)


def head(percent: float) -> SampleSection:
    return SampleSection(mode="head", percent=percent)


def hashed(percent: float, seed: int = 42) -> SampleSection:
    return SampleSection(mode="hash", percent=percent, seed=seed)


def ids(ref: SampleRef) -> list[str]:
    return [row["prompt_id"] for row in read_jsonl(Path(ref.jsonl))]


def test_head_takes_the_first_rows_in_both_formats(tmp_path: Path) -> None:
    rows = make_rows(250)
    ref = sample_split(raw(tmp_path, rows, shards=3, group=40), head(50), tmp_path / "out", quiet)
    assert (ref.rows, ref.rows_total) == (125, 250)
    assert list(read_jsonl(Path(ref.jsonl))) == rows[:125]
    assert pq.read_table(ref.parquet).to_pylist() == rows[:125]
    assert list(json.loads(Path(ref.jsonl).read_bytes().split(b"\n")[0])) == ["prompt", "prompt_id", "messages"]
    assert ref.sha256 == file_sha256(Path(ref.jsonl))
    assert ref.size_bytes == Path(ref.jsonl).stat().st_size
    assert Path(ref.jsonl).name == "train_sft.jsonl"


@pytest.mark.parametrize(
    ("total", "rows"), [(207_865, 10_393), (23_110, 1_156), (256_032, 12_802), (28_304, 1_415), (10, 0), (30, 2)]
)
def test_head_rounds_exact_halves_to_even(total: int, rows: int) -> None:
    assert head_rows(total, 5) == rows


@pytest.mark.slow
def test_head_is_what_datasets_takes(tmp_path: Path) -> None:
    import datasets

    for total in (1, 7, 10, 30, 50, 99, 101, 333):
        ref = raw(tmp_path / str(total), make_rows(total, seed=total), shards=2 if total > 1 else 1, group=16)
        for percent in (1, 5, 33, 50, 75, 100):
            files, cache = {"train_sft": list(ref.files)}, str(tmp_path / "cache")
            load = partial(
                datasets.load_dataset,
                "parquet",
                data_files=files,
                split=f"train_sft[0%:{percent}%]",
                cache_dir=cache,
            )
            if not head_rows(total, percent):
                with pytest.raises(ValueError, match="corresponds to no data"):
                    load()
                with pytest.raises(DatasetError, match=rf"{percent} % \(head\) of the {total} rows"):
                    sample_split(ref, head(percent), tmp_path / "out", quiet)
                continue
            split = load()
            assert isinstance(split, datasets.Dataset)
            sample = sample_split(ref, head(percent), tmp_path / "out", quiet)
            assert list(read_jsonl(Path(sample.jsonl))) == split.to_list()


def test_hash_samples_are_nested_and_seeded(tmp_path: Path) -> None:
    ref = raw(tmp_path, make_rows(2000))
    five, twenty, everything = (sample_split(ref, hashed(p), tmp_path / str(p), quiet) for p in (5, 20, 100))
    assert set(ids(five)) < set(ids(twenty)) < set(ids(everything))
    assert everything.rows == 2000
    assert set(ids(sample_split(ref, hashed(5, seed=7), tmp_path / "seed", quiet))) != set(ids(five))


def test_hash_samples_do_not_depend_on_order_or_shards(tmp_path: Path) -> None:
    rows = make_rows(1000)
    shuffled = random.Random(3).sample(rows, len(rows))
    one = sample_split(raw(tmp_path / "a", rows), hashed(10), tmp_path / "a", quiet)
    resharded = sample_split(raw(tmp_path / "b", rows, shards=4, group=30), hashed(10), tmp_path / "b", quiet)
    reordered = sample_split(raw(tmp_path / "c", shuffled, shards=2), hashed(10), tmp_path / "c", quiet)
    assert resharded.sha256 == one.sha256
    assert set(ids(reordered)) == set(ids(one))


def test_hash_samples_are_uniform(tmp_path: Path) -> None:
    """Over ten thousand rows, each tenth of the keys holds a tenth of the rows: chi-square, p = 0.001."""
    ref = raw(tmp_path, make_rows(10_000))
    counts = [0, *(sample_split(ref, hashed(p), tmp_path / "out", quiet).rows for p in range(10, 101, 10))]
    tenths = [upper - lower for lower, upper in pairwise(counts)]
    assert sum(tenths) == 10_000
    assert sum((observed - 1000) ** 2 / 1000 for observed in tenths) < 27.88


@pytest.mark.parametrize("section", [head(30), hashed(30)], ids=["head", "hash"])
def test_bytes_are_the_same_on_any_number_of_threads(tmp_path: Path, section: SampleSection) -> None:
    ref = raw(tmp_path, make_rows(5000), shards=3, group=100)
    program = (
        "import sys; from pathlib import Path; from phi_assets.dataset.sample import sample_split;"
        "from phi_assets.recipe import SampleSection; from phi_assets.refs import SplitRef;"
        "sample_split(SplitRef.model_validate_json(sys.argv[1]), SampleSection.model_validate_json(sys.argv[2]),"
        " Path(sys.argv[3]), print)"
    )
    for threads in ("1", "3"):
        arguments = (ref.model_dump_json(), section.model_dump_json(), str(tmp_path / threads))
        subprocess.run(
            [sys.executable, "-c", program, *arguments], env=os.environ | {"POLARS_MAX_THREADS": threads}, check=True
        )
    for name in ("train_sft.jsonl", "train_sft.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_a_sample_that_is_there_is_kept(tmp_path: Path) -> None:
    ref = raw(tmp_path, make_rows(100))
    first = sample_split(ref, head(50), tmp_path / "out", quiet)
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("train_sft*")}
    said: list[str] = []
    assert sample_split(ref, head(50), tmp_path / "out", said.append) == first
    # The seed has no part in a head sample.
    assert sample_split(ref, SampleSection(mode="head", percent=50, seed=1), tmp_path / "out", quiet) == first
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("train_sft*")} == stamps
    assert "unchanged" in said[0]


@pytest.mark.parametrize("damage", ["jsonl", "parquet", "manifest"])
def test_a_damaged_sample_is_made_again(tmp_path: Path, damage: str) -> None:
    ref = raw(tmp_path, make_rows(100))
    first = sample_split(ref, head(50), tmp_path / "out", quiet)
    path = {
        "jsonl": Path(first.jsonl),
        "parquet": Path(first.parquet),
        "manifest": tmp_path / "out" / "train_sft.sample.json",
    }[damage]
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    assert sample_split(ref, head(50), tmp_path / "out", quiet) == first
    assert path.read_bytes() == good


def test_another_choice_or_other_rows_replace_it(tmp_path: Path) -> None:
    ref = raw(tmp_path / "a", make_rows(100))
    hashes = {
        sample_split(ref, head(50), tmp_path / "out", quiet).sha256,
        sample_split(ref, head(40), tmp_path / "out", quiet).sha256,
        sample_split(ref, hashed(40), tmp_path / "out", quiet).sha256,
        sample_split(raw(tmp_path / "b", make_rows(100, seed=9)), head(40), tmp_path / "out", quiet).sha256,
    }
    assert len(hashes) == 4


def test_an_empty_sample_is_refused(tmp_path: Path) -> None:
    ref = raw(tmp_path, make_rows(10))
    with pytest.raises(
        DatasetError, match=r"1 % \(head\) of the 10 rows of 'train_sft' are none: raise sample\.percent"
    ):
        sample_split(ref, head(1), tmp_path / "out", quiet)
    assert not list((tmp_path / "out").glob("train_sft*"))


def test_a_bad_source_leaves_the_good_sample_alone(tmp_path: Path) -> None:
    ref = raw(tmp_path, make_rows(3000), group=100)
    good = sample_split(ref, head(10), tmp_path / "out", quiet)
    shard = Path(ref.files[0])
    content = bytearray(shard.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = os.urandom(4000)
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=r"Split 'train_sft' of .* cannot be sampled"):
        sample_split(ref, head(100), tmp_path / "out", quiet)
    assert file_sha256(Path(good.jsonl)) == good.sha256
    assert sorted(
        path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".train_sft.lock")
    ) == [
        "train_sft.jsonl",
        "train_sft.parquet",
        "train_sft.sample.json",
    ]
    shard.write_bytes(content[:-10])
    with pytest.raises(DatasetError, match=r"raw/train_sft have changed"):
        sample_split(ref, head(100), tmp_path / "out", quiet)
    shard.unlink()
    with pytest.raises(DatasetError, match=r"has gone since raw/train_sft was materialized"):
        sample_split(ref, head(100), tmp_path / "out", quiet)


def _write_and_hang(folder: Path, started: Any) -> None:
    with staging(folder, "train_sft") as staged:
        (staged / "train_sft.jsonl").write_bytes(b"half a li")
        started.set()
        time.sleep(60)


def test_a_process_killed_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    ref = raw(tmp_path, make_rows(100))
    good = sample_split(ref, head(50), tmp_path / "out", quiet)
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Event()
    process = spawn.Process(target=_write_and_hang, args=(tmp_path / "out", started))
    process.start()
    assert started.wait(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert file_sha256(Path(good.jsonl)) == good.sha256
    sample_split(ref, head(60), tmp_path / "out", quiet)
    assert not list((tmp_path / "out").glob(".*partial"))


def test_columns_may_come_in_any_order_and_kind(tmp_path: Path) -> None:
    rows = make_rows(20)
    message = pa.struct([("role", pa.large_string()), ("name", pa.string()), ("content", pa.large_string())])
    odd = pa.schema(
        [
            ("messages", pa.large_list(message)),
            ("score", pa.float64()),
            ("prompt_id", pa.large_string()),
            ("prompt", pa.string()),
        ]
    )
    first, second = write_shards(tmp_path, "train_sft", rows, shards=2)
    pq.write_table(pa.Table.from_pylist(rows[10:], schema=odd), second)
    ref = fetch_split(DatasetSection(source="local", path=tmp_path), "train_sft", tmp_path, quiet)
    assert ref.files == (str(first), str(second))
    sample = sample_split(ref, head(100), tmp_path / "out", quiet)
    assert list(read_jsonl(Path(sample.jsonl))) == rows
    assert pq.read_table(sample.parquet).to_pylist() == rows


def test_a_missing_id_cannot_be_hashed(tmp_path: Path) -> None:
    rows = make_rows(20)
    rows[3]["prompt_id"] = None
    ref = raw(tmp_path, rows)
    with pytest.raises(DatasetError, match=r"prompt_id is missing in some rows: use `mode: head`"):
        sample_split(ref, hashed(50), tmp_path / "out", quiet)


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a":"one\u2028two\u0085three"}\n{"a":1}\n', encoding="utf-8")
    assert list(read_jsonl(path)) == [{"a": "one\u2028two\u0085three"}, {"a": 1}]
    path.write_text('{"a":1}\n{"a":', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"rows\.jsonl, line 2 is not JSON"):
        list(read_jsonl(path))
