"""The source of the chat data, as the graph asks it."""

import shutil
from pathlib import Path

from phi_assets.config.dataset import ContractSection, DatasetSection, Policies, SampleSection
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.graph.dataset.source import ChatDataSource
from phi_assets.refs import DatasetRef, SampleRef, SplitRef
from tests.dataset.shards import Row, make_rows, quiet, write_shards

HALF = SampleSection(percent=50)


def source_of(folder: Path, **choices: object) -> ChatDataSource:
    section = DatasetSection.model_validate({"source": "local", "path": folder / "source", **choices})
    return ChatDataSource(section, DataStorage.local(folder / "data"))


def raw_of(source: ChatDataSource, split: str = "train_sft") -> SplitRef:
    return source.fetch(source.pin(), split, quiet)


def rows_of(ref: SampleRef) -> list[Row]:
    return list(read_jsonl(Path(ref.jsonl)))


def test_from_recipe_to_sample(tmp_path: Path) -> None:
    rows = make_rows(40)
    write_shards(tmp_path / "source", "train_sft", rows)
    source = source_of(tmp_path, name="chats", roles={"people": "user"})
    assert source.section.path == tmp_path / "source"
    assert (source.section.name, source.section.roles) == ("chats", {"people": "user"})
    assert source.pin().name == str(tmp_path / "source")
    (sample,) = source.prepare(raw_of(source), HALF, ContractSection(), quiet)
    assert rows_of(sample) == rows[:20]
    assert (tmp_path / "data" / "sampled") in Path(sample.jsonl).parents
    assert Path(sample.report).parent == Path(sample.parquet).parent == Path(sample.jsonl).parent


def test_samples_of_two_recipes_do_not_replace_each_other(tmp_path: Path) -> None:
    """A ref that some asset still holds goes on to mean the same rows."""
    write_shards(tmp_path / "source", "train_sft", make_rows(40))
    write_shards(tmp_path / "source", "test_sft", make_rows(40, seed=1))
    source = source_of(tmp_path)
    raw = raw_of(source)
    (test,) = source.prepare(raw_of(source, "test_sft"), HALF, ContractSection(), quiet)
    (smaller_test,) = source.prepare(raw_of(source, "test_sft"), SampleSection(percent=25), ContractSection(), quiet)
    lenient = ContractSection(policies=Policies(roles="warn"))
    prepared = [
        source.prepare(raw, HALF, ContractSection(), quiet),
        source.prepare(raw, SampleSection(percent=25), ContractSection(), quiet),
        source.prepare(raw, HALF, lenient, quiet),
        source.prepare(raw, HALF, ContractSection(context_tokens=128), quiet),
        source.prepare(raw, HALF, ContractSection(), quiet, validation=True),
        source.prepare(raw, HALF, ContractSection(), quiet, against=test),
        source.prepare(raw, HALF, ContractSection(), quiet, against=smaller_test),
    ]
    assert len({Path(refs[0].jsonl).parent for refs in prepared}) == len(prepared)
    assert [sum(len(rows_of(ref)) for ref in refs) for refs in prepared] == [20, 10, 20, 20, 20, 20, 20]
    stamp = Path(prepared[0][0].jsonl).stat().st_mtime_ns
    # What a check allows is no part of the rows.
    for contract in (ContractSection(), ContractSection(minimum_rows=1, max_truncated_percent=1)):
        assert source.prepare(raw, HALF, contract, quiet) == prepared[0]
    assert Path(prepared[0][0].jsonl).stat().st_mtime_ns == stamp


def test_training_data_has_no_row_of_the_test_sample_and_none_twice(tmp_path: Path) -> None:
    test_rows = make_rows(30, seed=1)
    rows = make_rows(60)
    rows[5] = test_rows[2]
    rows[7] = rows[7] | {"prompt_id": test_rows[3]["prompt_id"]}
    # In the test split, but not in its sample.
    rows[9] = test_rows[29]
    write_shards(tmp_path / "source", "train_sft", rows)
    write_shards(tmp_path / "source", "test_sft", test_rows)
    source = source_of(tmp_path)
    everything = SampleSection(percent=100, validation_percent=20)
    (test,) = source.prepare(raw_of(source, "test_sft"), HALF, ContractSection(), quiet)
    train, validation = source.prepare(
        raw_of(source), everything, ContractSection(), quiet, validation=True, against=test
    )
    assert (train.split, validation.split, test.split) == ("train_sft", "validation_sft", "test_sft")
    kept = rows_of(train) + rows_of(validation)
    assert sorted(kept, key=str) == sorted((row for n, row in enumerate(rows) if n not in (5, 7)), key=str)
    assert (train.violations["leaked_id"], train.violations["leaked_text"], train.rows_quarantined) == (2, 1, 2)
    assert train.report == validation.report


def test_a_pinned_commit_needs_no_hub_to_be_named(tmp_path: Path) -> None:
    source = ChatDataSource(DatasetSection(revision="a" * 40), DataStorage.local(tmp_path))
    assert source.pin() == DatasetRef(source="hub", name="HuggingFaceH4/ultrachat_200k", revision="a" * 40)


def test_what_is_handed_over_is_found_by_another_machine(tmp_path: Path) -> None:
    section = DatasetSection(source="asset", asset="chats")
    one, two = (
        ChatDataSource(section, DataStorage(f"memory://{tmp_path}", tmp_path / name)) for name in ("one", "two")
    )
    write_shards(tmp_path / "source", "train_sft", make_rows(20))
    pinned = one.land(tmp_path / "source")
    assert pinned.folder.startswith(f"memory://{tmp_path}/brought/")
    assert one.land(tmp_path / "source") == pinned
    shutil.rmtree(tmp_path / "source")
    raw = two.fetch(DatasetRef.model_validate_json(pinned.model_dump_json()), "train_sft", quiet)
    assert raw.rows == 20
    (sample,) = two.prepare(raw, HALF, ContractSection(), quiet)
    assert sample.rows == 10
