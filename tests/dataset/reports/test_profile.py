"""The portrait of a sample, against one that plain Python draws row by row."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from phi_assets.config.dataset import ContractSection, Policies, SampleSection
from phi_assets.dataset.contract.rules import RULES, Contract
from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.reports.profile import EXAMPLES, LONGEST_TEXT, ProfileBuilder, conversations
from phi_assets.dataset.reports.report import Lengths, Profile, SplitReport, read_report
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.schema import POLARS_SCHEMA
from phi_assets.refs import SampleRef
from tests.dataset.shards import Row, make_odd_rows, make_rows, quiet, raw_split

KEEP_ALL = Policies.model_validate(dict.fromkeys(RULES, "warn"))


def prepared(
    folder: Path,
    rows: list[Row],
    *,
    shards: int = 1,
    seed: int = 42,
    policies: Policies | None = None,
    context: int = 200,
) -> tuple[tuple[SampleRef, ...], SplitReport]:
    ref = raw_split(folder / "raw", rows, shards, 50)
    contract = ContractSection(policies=policies or Policies(), context_tokens=context)
    section = SampleSection(percent=100, seed=seed)
    refs = prepare_split(ref, section, contract, folder / "out", quiet, validation=True)
    return refs, read_report(Path(refs[0].report))


def messages_of(row: Row) -> list[dict[str, Any]]:
    return row["messages"] or []


def tokens_of(row: Row) -> int:
    size = sum(len((message["content"] or "").encode()) for message in messages_of(row))
    return round(size * 0.214) + 4 * len(messages_of(row))


def quantile(values: list[int], share: float) -> float:
    """Between two values, in a straight line."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def assert_lengths(found: Lengths, what: str, values: list[int]) -> None:
    assert (found.what, found.max) == (what, max(values))
    assert found.mean == pytest.approx(sum(values) / len(values), abs=0.051)
    for share, figure in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        assert figure == pytest.approx(quantile(values, share))


def assert_profile(profile: Profile, rows: list[Row], context: int) -> None:
    """Every figure is what a person would count."""
    messages = [message for row in rows for message in messages_of(row)]
    texts = [message["content"] or "" for message in messages]
    tokens = [tokens_of(row) for row in rows]
    turns = [sum(message["role"] == "user" for message in messages_of(row)) for row in rows]
    assert (profile.rows, profile.messages, profile.turns) == (len(rows), len(messages), sum(turns))
    assert profile.bytes == sum(len(text.encode()) for text in texts)
    assert (profile.tokens, profile.context_tokens) == (sum(tokens), context)
    assert profile.token_counter == "estimated, 0.214 tokens a byte"
    assert profile.truncated_rows == sum(length > context for length in tokens)
    assert profile.truncated_share == profile.truncated_rows / len(rows)
    by_what = {lengths.what: lengths for lengths in profile.lengths}
    assert len(by_what) == len(profile.lengths) == 4
    characters = [sum(len(message["content"] or "") for message in messages_of(row)) for row in rows]
    assert_lengths(by_what["tokens"], "tokens", tokens)
    assert_lengths(by_what["messages"], "messages", [len(messages_of(row)) for row in rows])
    assert_lengths(by_what["turns"], "turns", turns)
    assert_lengths(by_what["characters"], "characters", characters)
    roles = Counter(message["role"] or "none" for message in messages)
    assert [role.role for role in profile.roles] == sorted(roles)
    for role in profile.roles:
        said = [message["content"] or "" for message in messages if (message["role"] or "none") == role.role]
        assert (role.messages, role.bytes) == (roles[role.role], sum(len(text.encode()) for text in said))
        assert_lengths(role.characters, "characters", [len(text) for text in said])
    edges, counts = profile.histogram.edges, profile.histogram.counts
    assert len(edges) == len(counts) + 1
    assert sum(counts) == len(rows)
    assert (edges[0], edges[-1]) == (0, pytest.approx(max(*tokens, edges[-1])))
    for (low, high), count in zip(pairwise(edges), counts, strict=True):
        assert low < high
        # Edges are rounded for people.
        inside = sum(low + 0.06 <= length < high - 0.06 for length in tokens)
        around = sum(low - 0.06 <= length <= high + 0.06 for length in tokens)
        assert inside <= count <= around


@pytest.mark.parametrize("policies", [Policies(), KEEP_ALL], ids=["drop", "keep"])
def test_figures_are_those_that_one_counts_by_hand(tmp_path: Path, policies: Policies) -> None:
    rows = make_odd_rows(300, words=80)
    for row in make_rows(20, seed=1, words=80):
        rows.append(row | {"messages": [{"role": "system", "content": "Be brief."}, *row["messages"]]})
    refs, report = prepared(tmp_path, rows, policies=policies)
    assert [ref.split for ref in refs] == list(report.samples) == ["train_sft", "validation_sft"]
    for ref in refs:
        kept = list(read_jsonl(Path(ref.jsonl)))
        profile = report.samples[ref.split]
        assert_profile(profile, kept, context=200)
        assert ref.truncated_share == profile.truncated_share
    assert 0 < refs[0].truncated_share < 1
    assert "system" in [role.role for role in report.samples["train_sft"].roles]


@pytest.mark.parametrize("context", [16, 100, 1_000_000])
def test_the_histogram_shows_all_rows_wherever_the_context_ends(tmp_path: Path, context: int) -> None:
    """One conversation is a hundred times as long as the others."""
    rows = make_rows(100)
    rows[7]["messages"][1]["content"] = "a long answer " * 1500
    _, report = prepared(tmp_path, rows, context=context)
    for profile in report.samples.values():
        assert sum(profile.histogram.counts) == profile.rows
    profile = report.samples["train_sft"]
    assert_profile(profile, [row for row in rows if row["prompt_id"] in kept_ids(tmp_path)], context)
    # The long one takes no room from the others.
    assert profile.histogram.edges[-2] < profile.histogram.edges[-1] / 5
    assert profile.histogram.counts[-1] >= 1


def kept_ids(folder: Path) -> set[str]:
    return {row["prompt_id"] for row in read_jsonl(folder / "out" / "train_sft.jsonl")}


def test_examples_are_rows_of_the_sample_chosen_by_the_seed(tmp_path: Path) -> None:
    rows = make_odd_rows(300)
    _, report = prepared(tmp_path / "a", rows)
    for name, profile in report.samples.items():
        kept = {row["prompt_id"]: row for row in read_jsonl(tmp_path / "a" / "out" / f"{name}.jsonl")}
        assert len(profile.examples) == EXAMPLES == 5
        numbers = [example.row for example in profile.examples]
        assert numbers == sorted(set(numbers))
        for example in profile.examples:
            assert rows[example.row] == kept[example.prompt_id]
            assert [message.model_dump() for message in example.messages] == kept[example.prompt_id]["messages"]
    again = prepared(tmp_path / "b", rows, shards=4)[1]
    assert again == report
    other = prepared(tmp_path / "c", rows, seed=43)[1]
    assert other.samples["train_sft"].examples != report.samples["train_sft"].examples
    # From everywhere, not the first ones.
    assert max(example.row for example in report.samples["train_sft"].examples) > 60


def judged(rows: list[Row], first: int = 0) -> pl.DataFrame:
    contract = Contract("train_sft", ContractSection(), TokenCounter(None), None)
    frame = pl.DataFrame(rows, schema=POLARS_SCHEMA).with_row_index("row", offset=first)
    return contract.judge(frame.with_columns(source=pl.lit(None, dtype=pl.String)))


def test_a_portrait_does_not_depend_on_the_batches() -> None:
    whole = judged(make_rows(200))
    portraits = []
    for size in (200, 199, 64, 3, 1):
        builder = ProfileBuilder(seed=1)
        for first in range(0, 200, size):
            builder.add(whole[first : first + size])
            builder.add(whole[:0])
        assert builder.rows == 200
        portraits.append(builder.build(context_tokens=64, token_counter="estimated"))
    assert all(portrait == portraits[0] for portrait in portraits)


def test_there_may_be_nothing_to_portray() -> None:
    builder = ProfileBuilder(seed=1)
    builder.add(judged([])[:0])
    empty = builder.build(context_tokens=64, token_counter="estimated")
    assert (empty.rows, empty.tokens, empty.truncated_share, empty.examples, empty.roles) == (0, 0, 0, (), ())
    assert sum(empty.histogram.counts) == 0
    assert [lengths.max for lengths in empty.lengths] == [0, 0, 0, 0]
    builder.add(judged([{"prompt": "a", "prompt_id": "b", "messages": []}]))
    one = builder.build(context_tokens=64, token_counter="estimated")
    assert (one.rows, one.tokens, one.messages) == (1, 0, 0)
    assert sum(one.histogram.counts) == 1


def test_long_texts_are_cut_in_examples_and_say_so() -> None:
    rows = make_rows(1)
    rows[0]["messages"][0]["content"] = "😀" * LONGEST_TEXT
    rows[0]["messages"][1]["content"] = "é" * (LONGEST_TEXT + 1234)
    (example,) = conversations(judged(rows))
    assert example.messages[0].content == "😀" * LONGEST_TEXT
    assert example.messages[1].content == "é" * LONGEST_TEXT + "… (1,234 more characters)"


def test_examples_show_what_is_missing() -> None:
    rows: list[Row] = [
        {"prompt": None, "prompt_id": None, "messages": None},
        {"prompt": "a", "prompt_id": "b", "messages": [{"content": None, "role": None}]},
    ]
    first, second = conversations(judged(rows, first=7))
    assert (first.row, first.prompt_id, first.messages) == (7, "", ())
    assert [message.model_dump() for message in second.messages] == [{"role": None, "content": None}]
