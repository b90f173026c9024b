"""Examples and summary numbers."""

from pathlib import Path
from statistics import mean

import pytest

from phi_assets.dataset.preview import TOKENS_PER_BYTE, example_conversations, preview_markdown, summary
from phi_assets.dataset.sample import sample_split
from phi_assets.dataset.source import fetch_split
from phi_assets.recipe import DatasetSection, SampleSection
from phi_assets.refs import SampleRef, SplitRef
from tests.dataset.shards import make_rows, write_shards

ROWS = make_rows(300)


@pytest.fixture
def split(tmp_path: Path) -> SplitRef:
    write_shards(tmp_path, "train_sft", ROWS, shards=2, group=50)
    return fetch_split(DatasetSection(source="local", path=tmp_path), "train_sft", tmp_path, lambda _: None)


@pytest.fixture
def sample(split: SplitRef, tmp_path: Path) -> SampleRef:
    return sample_split(split, SampleSection(percent=100), tmp_path / "out", lambda _: None)


def test_examples_are_rows_chosen_by_the_seed(split: SplitRef, sample: SampleRef) -> None:
    chosen = example_conversations(split, 5, seed=1)
    assert len(chosen) == 5
    assert all(row in ROWS for row in chosen)
    assert chosen == example_conversations(sample, 5, seed=1)
    assert chosen != example_conversations(split, 5, seed=2)
    assert example_conversations(split, 1000, seed=1) == ROWS


def test_the_summary_counts_what_is_there(split: SplitRef, sample: SampleRef) -> None:
    size = sum(len(message["content"].encode()) for row in ROWS for message in row["messages"])
    assert summary(sample) == summary(split)
    assert summary(sample) == {
        "rows": 300,
        "bytes": size,
        "turns_mean": round(mean(len(row["messages"]) / 2 for row in ROWS), 3),
        "characters_mean": round(mean(sum(len(m["content"]) for m in row["messages"]) for row in ROWS), 1),
        "estimated_tokens": round(size * TOKENS_PER_BYTE),
    }


def test_the_preview_is_one_table_row_a_conversation() -> None:
    long = {"prompt": "a|b", "prompt_id": "0" * 64, "messages": []}
    long["messages"] = [{"content": "a|b\nc", "role": "user"}, {"content": "x" * 1000, "role": "assistant"}]
    lines = preview_markdown([long, {**long, "messages": []}]).splitlines()
    assert len(lines) == 4
    assert "a\\|b c" in lines[2]
    assert len(lines[2]) < 400
