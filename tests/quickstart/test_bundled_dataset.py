import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_assets.quickstart.build_dataset import DESTINATION, SCHEMA, SPLITS, Split, conversations, parquet_path, write
from phi_assets.quickstart.conversation import held_out_exchanges


def rows(split: Split) -> list[dict]:
    return pq.read_table(parquet_path(DESTINATION, split)).to_pylist()


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rebuilt")
    write(folder)
    return folder


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_the_committed_file_is_what_the_script_writes(rebuilt, split):
    committed, fresh = parquet_path(DESTINATION, split), parquet_path(rebuilt, split)
    assert pq.read_table(committed).equals(pq.read_table(fresh))
    # Another version of pyarrow may lay out the same rows in other bytes.
    if pq.read_metadata(committed).created_by == pq.read_metadata(fresh).created_by:
        assert committed.read_bytes() == fresh.read_bytes()


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_rows_are_in_the_schema_of_ultrachat(split):
    assert pq.read_schema(parquet_path(DESTINATION, split)).equals(SCHEMA)
    assert SCHEMA.field("messages").type.value_type == pa.struct({"content": pa.string(), "role": pa.string()})
    for row in rows(split):
        assert row["prompt_id"] == hashlib.sha256(row["prompt"].encode()).hexdigest()
        assert row["messages"][0] == {"content": row["prompt"], "role": "user"}
        assert all(message["content"] for message in row["messages"])
        assert row["messages"][-1]["role"] == ("assistant" if split.name.endswith("sft") else "user")


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_no_prompt_comes_twice(split):
    prompts = [row["prompt"] for row in rows(split)]
    assert len(set(prompts)) == len(prompts) == split.rows


def test_no_test_question_is_in_a_training_row():
    asked = {
        message["content"]
        for split in SPLITS
        if not split.held_out
        for row in rows(split)
        for message in row["messages"]
    }
    assert not asked & {row["prompt"] for split in SPLITS if split.held_out for row in rows(split)}
    assert not asked & {exchange.question for exchange in held_out_exchanges()}


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_the_first_tenth_is_representative(split):
    def share(topic: str, part: list) -> float:
        return sum(conversation.exchanges[0].topic == topic for conversation in part) / len(part)

    everything = conversations(split)
    head = everything[: len(everything) // 10]
    for topic in ("animal", "country"):
        assert share(topic, head) == pytest.approx(share(topic, everything), abs=0.25 if len(head) < 100 else 0.08)
    assert len({conversation.exchanges[0].topic for conversation in head}) >= 8
