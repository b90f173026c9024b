"""Local folders and the bundled data set."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import SPLITS, DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sources.raw_splits import fetch_split, latest_revision
from phi_assets.dataset.sources.schema import prove_schema
from phi_assets.refs import DataFile, SplitRef
from tests.dataset.shards import SCHEMA, make_rows, write_shards


def fetch(folder: Path, split: str = "train_sft", **section: Any) -> SplitRef:
    dataset = DatasetSection(source="local", path=folder, **section)
    return fetch_split(dataset, split, folder / "unused", lambda _: None)


def test_a_local_split_is_used_where_it_lies(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, "train_sft", make_rows(70), shards=3)
    write_shards(tmp_path, "test_sft", make_rows(5))
    ref = fetch(tmp_path)
    assert ref.files == tuple(map(DataFile.at, shards))
    assert (ref.rows, ref.split) == (70, "train_sft")
    assert ref.size_bytes == sum(shard.stat().st_size for shard in shards)
    assert ref.sha256 == hashlib.sha256(b"".join(shard.read_bytes() for shard in shards)).hexdigest()
    assert not (tmp_path / "unused").exists()


def test_the_hubs_own_shard_names_are_understood(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path, "train_sft", make_rows(3))
    shard.rename(shard.with_name("train_sft-00000-of-00001-a3ecf92756993583.parquet"))
    assert fetch(tmp_path).rows == 3


def test_the_hash_follows_the_content_only(tmp_path: Path) -> None:
    write_shards(tmp_path / "a", "train_sft", make_rows(10))
    write_shards(tmp_path / "b", "train_sft", make_rows(10))
    write_shards(tmp_path / "c", "train_sft", make_rows(11))
    hashes = [fetch(tmp_path / name).sha256 for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_bundled_data_set_has_all_splits(tmp_path: Path) -> None:
    section = DatasetSection(source="bundled")
    refs = [fetch_split(section, split, tmp_path, lambda _: None) for split in SPLITS]
    assert [ref.split for ref in refs] == list(SPLITS)
    assert all(ref.rows > 0 and ref.source == "bundled" for ref in refs)
    assert latest_revision(section) == latest_revision(section)


def test_one_file_of_conversations_is_all_that_has_to_be_named(tmp_path: Path) -> None:
    file = tmp_path / "faq.jsonl"
    turns = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]
    file.write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(40)), encoding="utf-8")
    (tmp_path / "notes.csv").write_text("not,a,conversation\n", encoding="utf-8")
    section = DatasetSection(source="local", path=file)
    before = latest_revision(section)
    refs = [fetch_split(section, split, tmp_path / "data", print) for split in ("train_sft", "test_sft")]
    assert [(ref.rows, ref.source) for ref in refs] == [(40, str(file))] * 2
    file.write_text(file.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert latest_revision(section) != before


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Nothing is at .*absent"):
        fetch(tmp_path / "absent")
    with pytest.raises(DatasetError, match=r"holds no data: put .*\.jsonl.*`source: hub` or `bundled`"):
        fetch(tmp_path)
    with pytest.raises(DatasetError, match=r"holds no data: put"):
        latest_revision(DatasetSection(source="local", path=tmp_path))
    shards = write_shards(tmp_path, "train_sft", make_rows(9), shards=3)
    with pytest.raises(DatasetError, match=r"no split 'test_gen': there are train_sft.*dataset\.splits"):
        fetch(tmp_path, "test_gen")
    shards[1].unlink()
    with pytest.raises(DatasetError, match=r"lacks shard\(s\) 00001 of split 'train_sft'"):
        fetch(tmp_path)


def test_two_copies_of_a_split_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, "train_sft", make_rows(9), shards=3)
    write_shards(tmp_path, "train_sft", make_rows(9), shards=2)
    with pytest.raises(DatasetError, match="more than one copy"):
        fetch(tmp_path)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, "train_sft", [])
    with pytest.raises(DatasetError, match="has no rows"):
        fetch(tmp_path)


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path, "train_sft", make_rows(50))
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(DatasetError, match=rf"{shard.name} is not a complete Parquet file"):
        fetch(tmp_path)


MESSAGE = pa.struct([("content", pa.string()), ("role", pa.string())])

WRONG = [
    ("prompt", pa.int64(), r"column 'prompt' is int64, expected string"),
    ("messages", pa.int64(), r"column 'messages' is int64, expected list<struct<content: string, role: string>>"),
    ("messages", pa.list_(pa.struct([("role", pa.string())])), r"column 'messages' is list<element: struct<role"),
    ("messages", MESSAGE, r"column 'messages' is struct<content: string, role: string>, expected list"),
]


def write_empty(folder: Path, column: str, found: pa.DataType | None) -> Path:
    """A shard without rows, in whose schema one column is missing or of another type."""
    fields = [field if field.name != column else field.with_type(found or pa.null()) for field in SCHEMA]
    schema = pa.schema([field for field in fields if field.name != column or found])
    (folder / "data").mkdir()
    file = folder / "data" / "train_sft-00000-of-00001.parquet"
    pq.write_table(schema.empty_table(), file)
    return file


@pytest.mark.parametrize(("column", "found", "complaint"), WRONG)
def test_a_wrong_schema_names_file_column_found_and_expected(
    tmp_path: Path, column: str, found: pa.DataType, complaint: str
) -> None:
    file = write_empty(tmp_path, column, found)
    with pytest.raises(DatasetError, match=rf"{file.name} does not .*{complaint}"):
        fetch(tmp_path)


@pytest.mark.parametrize(
    ("column", "found", "complaint"),
    [
        *WRONG,
        ("prompt_id", None, r"column 'prompt_id' is missing, expected string; found columns prompt, messages"),
        ("messages", None, r"column 'messages' is missing, expected list<.*dataset\.format and dataset\.columns"),
    ],
)
def test_what_is_not_the_schema_of_ultrachat_is_said(
    tmp_path: Path, column: str, found: pa.DataType | None, complaint: str
) -> None:
    file = write_empty(tmp_path, column, found)
    with pytest.raises(DatasetError, match=rf"{file.name} does not have the schema of ultrachat: {complaint}"):
        prove_schema(file)


def test_problems_of_rows_are_a_column_of_text(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    pq.write_table(SCHEMA.append(pa.field("problem", pa.string())).empty_table(), file)
    assert prove_schema(file) == 0
    pq.write_table(SCHEMA.append(pa.field("problem", pa.int8())).empty_table(), file)
    with pytest.raises(DatasetError, match="column 'problem' is int8, expected string"):
        prove_schema(file)


@pytest.mark.parametrize("name", ["data/train.jsonl", "train.ndjson", "train.json", "data/train-00000-of-00001.jsonl"])
def test_files_have_many_names_and_splits_other_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"prompt": "q", "completion": "a"}\n', encoding="utf-8")
    ref = fetch(tmp_path, splits={"train_sft": "train"})
    assert (ref.split, ref.rows, ref.source) == ("train_sft", 1, str(tmp_path))
    assert fetch(tmp_path, "train_gen", splits={"train_gen": "train"}).files == ref.files
    # The only split is cut, and nothing has to be said; one more, and nobody knows what is to be tested with.
    cut = [fetch(tmp_path, split) for split in ("train_sft", "test_sft", "train_gen", "test_gen")]
    assert [part.part for part in cut] == ["train", "test", "train", "test"]
    assert {part.files for part in cut} == {ref.files}
    assert len({part.sha256 for part in cut}) == 2
    (tmp_path / "notes.jsonl").touch()
    with pytest.raises(
        DatasetError, match=r"no split 'test_sft': there are notes, train\. Say in the recipe's dataset\.splits"
    ):
        fetch(tmp_path, "test_sft")
    assert fetch(tmp_path).files == ref.files


@pytest.mark.parametrize(
    "others", [("train_sft.csv",), ("data/train_sft.jsonl.gz",), ("train_sft.parquet", "x.parquet")]
)
def test_a_split_in_two_kinds_of_files_is_refused(tmp_path: Path, others: tuple[str, ...]) -> None:
    write_shards(tmp_path, "train_sft", make_rows(9))
    for name in others:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DatasetError, match=rf"more than one copy of split 'train_sft' \(.*{Path(others[0]).name}"):
        fetch(tmp_path)


def test_latest_revision_of_a_folder_changes_with_its_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, "train_sft", make_rows(5))
    section = DatasetSection(source="local", path=tmp_path)
    before = latest_revision(section)
    assert latest_revision(section) == before
    write_shards(tmp_path, "test_sft", make_rows(5))
    with_test = latest_revision(section)
    assert with_test != before
    (tmp_path / "train_gen.jsonl").write_bytes(b"{}")
    assert latest_revision(section) != with_test
