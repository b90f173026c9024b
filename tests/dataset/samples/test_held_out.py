"""Questions for a deployed model: the last answer is kept back, the choice depends on the seed alone."""

import json
from pathlib import Path

import pytest

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.config.recipe import ScoringSection
from phi_assets.dataset.contract.tokens import TOKENS_PER_MESSAGE, TokenCounter
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.samples.held_out import askable_conversations, held_out_conversations
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.refs import DataFile, SampleRef
from tests.dataset.shards import make_rows, quiet, raw_split


def sample(folder: Path, conversations: list[list[dict[str, str]]]) -> SampleRef:
    jsonl = folder / "test_gen.jsonl"
    rows = [{"prompt": messages[0]["content"], "prompt_id": "x", "messages": messages} for messages in conversations]
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return SampleRef(
        split="test_gen",
        jsonl=DataFile.at(jsonl),
        parquet=DataFile(),
        rows=len(rows),
        rows_total=len(rows),
        size_bytes=jsonl.stat().st_size,
        sha256="",
    )


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def test_the_last_answer_is_the_reference(tmp_path: Path) -> None:
    [item] = held_out_conversations(sample(tmp_path, [turns("Hi", "Hello", "Who?", "Me")]), 1, seed=0)
    assert [message["content"] for message in item.conversation] == ["Hi", "Hello", "Who?"]
    assert (item.question, item.reference) == ("Who?", "Me")


def test_a_conversation_that_ends_with_a_question_is_asked_up_to_the_answer_before_it(tmp_path: Path) -> None:
    [item] = held_out_conversations(sample(tmp_path, [turns("Hi", "Hello", "Who?", "Me", "Why?")]), 1, seed=0)
    assert [message["content"] for message in item.conversation] == ["Hi", "Hello", "Who?"]
    assert (item.question, item.reference) == ("Who?", "Me")


def test_a_conversation_without_an_answer_has_no_reference_and_is_chosen_last(tmp_path: Path) -> None:
    greeting = [{"role": "assistant", "content": "Welcome"}, {"role": "user", "content": "Yes?"}]
    ref = sample(tmp_path, [turns("Alone"), turns("Hi", "Hello"), greeting, turns("Who?", "Me", "Why?")])
    for seed in range(5):
        assert [item.reference for item in held_out_conversations(ref, 2, seed=seed)] == ["Hello", "Me"]
    items = held_out_conversations(ref, 4, seed=0)
    assert [(item.question, item.reference) for item in items] == [
        ("Alone", ""),
        ("Hi", "Hello"),
        ("Yes?", ""),
        ("Who?", "Me"),
    ]


def test_the_seed_decides_and_the_order_is_the_samples(tmp_path: Path) -> None:
    ref = sample(tmp_path, [turns(f"question {i:02}", "answer") for i in range(40)])
    chosen = [item.question for item in held_out_conversations(ref, 8, seed=1)]
    assert chosen == sorted(chosen)
    assert len(set(chosen)) == 8
    assert chosen == [item.question for item in held_out_conversations(ref, 8, seed=1)]
    assert chosen != [item.question for item in held_out_conversations(ref, 8, seed=2)]


def test_more_than_there_are_is_all_of_them(tmp_path: Path) -> None:
    assert len(held_out_conversations(sample(tmp_path, [turns("a", "b")] * 3), 10, seed=0)) == 3


def test_a_prepared_sample_is_asked_as_it_was_written(tmp_path: Path) -> None:
    """Also where half of it ends with a question, which is what generation splits do, and has a system message."""
    rows = make_rows(40)
    for row in rows[::2]:
        row["messages"].pop()
    for row in rows[::3]:
        row["messages"].insert(0, {"content": "Be brief.", "role": "system"})
    ref = raw_split(tmp_path, rows, split="test_gen")
    (prepared,) = prepare_split(ref, SampleSection(percent=100), ContractSection(), tmp_path / "out", quiet)
    items = held_out_conversations(prepared, 40, seed=0)
    assert len(items) == 40
    for row, item in zip(rows, items, strict=True):
        asked = list(item.conversation)
        messages = list(row["messages"])
        if messages[-1]["role"] == "user" and any(message["role"] == "assistant" for message in messages):
            messages.pop()
        answer = [{"content": item.reference, "role": "assistant"}] if item.reference else []
        assert asked + answer == messages
        assert asked[-1]["role"] == "user"
        assert bool(answer) == any(message["role"] == "assistant" for message in row["messages"])


def test_conversations_that_leave_no_room_for_an_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    short, long = turns("Hi", "Hello"), turns("word " * 200, "Hello")
    found = sample(tmp_path, [short, long, short])
    counter = TokenCounter(None)
    (needed,) = counter.count_conversations([long[:1]])
    for spare, left in ((0, 0), (-1, 1)):
        contract = ContractSection(context_tokens=needed + 50 + TOKENS_PER_MESSAGE + spare)
        askable = askable_conversations(found, ScoringSection(samples=3, max_new_tokens=50), contract)
        assert (len(askable.conversations), askable.left_out) == (3 - left, left)
        assert askable.conversations[0].question == "Hi"


def test_where_none_is_left_somebody_has_to_know(tmp_path: Path) -> None:
    found = sample(tmp_path, [turns("word " * 200, "Hello")])
    with pytest.raises(DatasetError, match=r"None of the 1 questions.*`contract.context_tokens` is 100"):
        askable_conversations(found, ScoringSection(samples=3, max_new_tokens=50), ContractSection(context_tokens=100))
    assert askable_conversations(sample(tmp_path, []), ScoringSection(), ContractSection()).conversations == []
