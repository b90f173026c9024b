"""What becomes of inputs like those in public bug reports: the right rows, or one message with file, row and cure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.raw_splits import fetch_split
from tests.dataset.cases.inputs import CALL, INPUTS, ROWS, TOOL, asked, lines, pairs
from tests.dataset.shards import quiet

EVERYTHING = SampleSection(percent=100, validation_percent=20)
Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Gives:
    """What an input gives: its first conversation, or what is said."""

    messages: Messages = field(default_factory=lambda: asked(0))
    rows: int = ROWS
    not_carried: Mapping[str, int] = field(default_factory=dict)
    tools: list[Any] = field(default_factory=list)


PAIRED: Messages = [
    {"role": "user", "content": pairs()[0]["prompt"]},
    {"role": "assistant", "content": pairs()[0]["completion"]},
]
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
SHAREGPT_CALL = {"id": "call_0", "type": "function", "function": {**CALL["function"]}}

GIVES: dict[str, Gives | str] = {
    "a list for each field, as datasets writes sequences": Gives(),
    "messages as JSON text of JSON text": Gives(),
    "tools with an input_schema": Gives([*asked(0)[:1], CALLED], tools=[TOOL]),
    "weights of one, as text": Gives(PAIRED, not_carried={"weight": ROWS}),
    "a mask of what is learned": r"train\.jsonl, row 1 has loss_mask \[0, 1\]: it says how much.*drop: \[loss_mask\]",
    "half a weight": r"train\.jsonl, row 1 has messages\.weight 0\.5: it says how much.*drop: \[messages\.weight\]",
    "a context beside the instruction": r"train\.jsonl, row 1 has context Much\.: it is a part of the conversation",
    "feedback on answers": r"train\.jsonl, row 1 has feedback -1: it says which answers are good",
    "calls of tools as text of JSON": Gives([*asked(0)[:1], CALLED], tools=[TOOL]),
    "calls of tools as pandas writes them": Gives([*asked(0)[:1], CALLED], tools=[TOOL]),
    "no calls of tools, in words": Gives(not_carried={"messages.tool_calls": ROWS}),
    "roles in odd case": Gives(),
    "a text that says it is packed": r"train\.jsonl\.gz is not packed: take \.gz from its name",
    "a packed text that does not say so": r"train\.jsonl is packed: let its name end with \.gz",
    "a text of another encoding": r"train\.jsonl, line 1 is not UTF-8 .*save the file in that encoding",
    "parts of another kind than text": r"row 1 has messages\.content\.input_audio .*the component learns text alone",
    "another system message beside messages": r"system says something else than the system message: row 1 of train",
    "a label in the last row of many": r"train\.jsonl, row 3,001 has label True: it says which answers are good",
    "content as a list of parts": Gives(),
    "lists as pandas writes them into CSV": Gives(),
    "semicolons": Gives(PAIRED),
    "a line that says sep=": Gives(PAIRED),
    "tabs": Gives(PAIRED),
    "preferences beside conversations": r"train\.jsonl holds preference data \(chosen and rejected.*dataset\.drop",
    "preferences of text": r"train\.jsonl holds preference data \(chosen and.*completion: chosen.*dataset\.drop",
    "keys that occur twice": r"train\.jsonl, line 6 has an object with the key 'content' more than once.*Write the key",
    "an object around the rows": Gives(),
    "an object around the rows in one line": Gives(),
    "an object around two lots of rows": r"train\.json is one object with rows under several keys \(a, b\).*of its own",
    "a list of lists": Gives(),
    "a list a line": Gives(),
    "labels of good and bad": r"train\.jsonl, row 1 has label True: it says which answers.*dataset\.drop: \[label\]",
    "xz": Gives(),
    "zip": Gives(),
    "an ending in upper case": Gives(),
    "subfolders": Gives(),
    "a folder of Spark": Gives(),
    "a folder of save_to_disk": Gives(),
    "an array that is called jsonl": Gives(),
    "objects over several lines": Gives(),
    "messages as JSON text": Gives(),
    "calls of tools": Gives(
        [
            {"role": "user", "content": "What is the weather in town number 0?"},
            CALLED,
            {"role": "tool", "content": "12 degrees", "tool_call_id": "c0"},
            {"role": "assistant", "content": "It has 12 degrees in town 0."},
        ],
        tools=[TOOL],
    ),
    "calls of tools beside text": Gives([asked(0)[0], {**asked(0)[1], "tool_calls": [CALL]}], tools=[TOOL]),
    "calls of tools in ShareGPT's form": Gives(
        [
            {"role": "user", "content": "What is the weather in town number 0?"},
            {"role": "assistant", "content": None, "tool_calls": [SHAREGPT_CALL]},
            {"role": "tool", "content": "12", "tool_call_id": "call_0"},
            {"role": "assistant", "content": "12 in 0"},
        ],
        tools=[TOOL],
    ),
    "a greeting of the assistant first": (
        r"None of the 40 sampled rows of 'train_sft' keeps the contract \(roles 40\)\. The commonest problem, of 40, "
        r"is that the turns .* \(assistant, user, assistant\): row 1 of train\.jsonl is the first\. To mend it, .*"
        r"take the others out.* are in .*train_sft\.rejected\.parquet"
    ),
    "a system column beside messages": Gives([{"role": "system", "content": "Speak French."}, *asked(0)]),
    "bytes in Parquet": Gives(PAIRED),
    "other roles in Parquet": Gives(),
    "content as a list of parts in Parquet": Gives(),
    "a time out of range": Gives(not_carried={"messages.sent_at": ROWS}),
    "messages as JSON text in Parquet": Gives(),
    "lists as views": Gives(),
    "messages as maps": Gives(),
    "UUIDs": Gives(),
    "calls of tools in Parquet": Gives(
        [asked(0)[0], CALLED],
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    # What is null in a table says nothing.
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            }
        ],
    ),
    "calls of tools in CSV": Gives([asked(0)[0], CALLED], tools=[TOOL]),
}
"""By the name of the input; a text is the pattern of the message."""


def section(folder: Path, **more: Any) -> DatasetSection:
    """The folder as a recipe names it."""
    splits = {"train_sft": "train", "test_sft": "test", "train_gen": "train", "test_gen": "test"}
    return DatasetSection(source="local", path=folder, **{"splits": splits, **more})


@pytest.mark.parametrize("name", GIVES)
def test_an_input_gives_the_right_rows_or_one_message_with_its_cure(tmp_path: Path, name: str) -> None:
    INPUTS[name](tmp_path)
    dataset, data, expected = section(tmp_path), tmp_path / "out", GIVES[name]

    def prepared() -> list[dict[str, Any]]:
        (test,) = prepare_split(
            fetch_split(dataset, "test_sft", data, quiet), EVERYTHING, ContractSection(), data, quiet
        )
        raw = fetch_split(dataset, "train_sft", data, quiet)
        refs = prepare_split(raw, EVERYTHING, ContractSection(), data, quiet, validation=True, against=test)
        assert refs[0].rows_quarantined == 0
        assert raw.not_carried == read_report(Path(refs[0].report)).not_carried
        if isinstance(expected, Gives):
            assert raw.not_carried == expected.not_carried
        return [row for ref in refs for row in read_jsonl(Path(ref.jsonl))]

    if isinstance(expected, str):
        with pytest.raises(DatasetError, match=expected):
            prepared()
        return
    rows = prepared()
    assert len(rows) == expected.rows
    # Keys may come in any order, and a row in either sample.
    written = {json.dumps([row["messages"], row.get("tools", [])], sort_keys=True) for row in rows}
    assert json.dumps([expected.messages, expected.tools], sort_keys=True) in written


def measured(folder: Path, **more: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    """Rows to train on (and to validate with), rows to test with, and the rules that the former break."""
    dataset = section(folder, **more)
    (test,) = prepare_split(
        fetch_split(dataset, "test_sft", folder / "out", quiet), EVERYTHING, ContractSection(), folder / "out", quiet
    )
    refs = prepare_split(
        fetch_split(dataset, "train_sft", folder / "out", quiet),
        EVERYTHING,
        ContractSection(),
        folder / "out",
        quiet,
        validation=True,
        against=test,
    )
    train = [row for ref in refs for row in read_jsonl(Path(ref.jsonl))]
    return train, list(read_jsonl(Path(test.jsonl))), {name: n for name, n in refs[0].violations.items() if n}


@pytest.mark.parametrize("name", ["a greeting that train and test share", "a greeting in every row"])
def test_a_greeting_costs_no_rows(tmp_path: Path, name: str) -> None:
    INPUTS[name](tmp_path)
    train, test, broken = measured(tmp_path)
    assert (len(train), len(test), broken) == (ROWS, 10, {})


def test_one_file_is_cut_into_rows_to_train_on_and_to_test_with_and_nothing_has_to_be_said(tmp_path: Path) -> None:
    INPUTS["one split only"](tmp_path)
    train, test, broken = measured(tmp_path, splits={})
    assert broken == {}
    assert len(test) > 0
    assert len(train) + len(test) == ROWS
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in test}
    # Two names for one split mean the same.
    again = measured(tmp_path, splits=dict.fromkeys(("train_sft", "test_sft"), "train"))
    assert again == (train, test, broken)


def wide(text: str) -> str:
    """In characters as wide as Chinese ones."""
    return "".join(chr(ord(letter) + 0xFEE0) if letter != " " else letter for letter in text)


def test_rows_with_markup_of_the_model_are_left_out(tmp_path: Path) -> None:
    INPUTS["markup of the model in text"](tmp_path)
    train, _, broken = measured(tmp_path)
    assert (len(train), broken) == (ROWS // 2, {"markup": ROWS // 2})


COMPOSED, DECOMPOSED = "Wo liegt Köln, bitte schön?", "Wo liegt Ko\u0308ln, bitte scho\u0308n?"
LEAKS = {
    "composed and decomposed": (COMPOSED, DECOMPOSED, True),
    "full width": ("What is the capital of Japan?", wide("What is the capital of Japan?"), True),
    "case beyond ASCII": ("WO LIEGT DIE STRASSE NACH WIEN?", "Wo liegt die Straße nach Wien?", True),
    "punctuation": ("What is the capital of Japan?", "what is -- the capital of japan", True),
    "another question": ("What is the capital of Japan?", "What is the capital of Spain?", False),
    "a question of a few characters": ("日本の首都はどこですか", "日本の首都はどこですか", True),
    "a short question, all there is": ("7 + 8?", "7 + 8?", True),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_question_is_found_again_however_it_is_written(tmp_path: Path, name: str) -> None:
    trained, tested, is_leak = LEAKS[name]

    def about(question: str, answer: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    rows = [*({"messages": asked(n)} for n in range(20)), about(trained, "In the east.")]
    (tmp_path / "train.jsonl").write_bytes(lines(rows))
    (tmp_path / "test.jsonl").write_bytes(lines([about(tested, "Elsewhere.")]))
    train, test, broken = measured(tmp_path)
    assert (len(train), len(test), broken) == ((20, 1, {"leaked_text": 1}) if is_leak else (21, 1, {}))


def test_the_same_question_under_other_system_prompts_is_several_rows_but_leaks_all_the_same(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "system", "content": f"You are number {n}."}, *asked(0)]} for n in range(ROWS)]
    rows += [{"messages": asked(n)} for n in range(1, ROWS)]
    (tmp_path / "train.jsonl").write_bytes(lines(rows))
    (tmp_path / "test.jsonl").write_bytes(lines([{"messages": asked(500)}]))
    train, _, broken = measured(tmp_path)
    # An id of the question alone would have made all but one of them repetitions.
    assert (len(train), broken) == (2 * ROWS - 1, {})
    (tmp_path / "test.jsonl").write_bytes(lines([{"messages": asked(0)}]))
    train, _, broken = measured(tmp_path)
    assert (len(train), broken) == (ROWS - 1, {"leaked_text": ROWS})


def test_rows_none_of_which_can_be_used_are_kept_and_their_commonest_problem_is_quoted(tmp_path: Path) -> None:
    rows = [
        {"messages": asked(0), "prompt": 1},
        *({"messages": [*asked(n), {"role": "nun", "content": "?"}]} for n in range(5)),
    ]
    for number in range(2):
        (tmp_path / f"train-0000{number}-of-00002.jsonl").write_bytes(lines(rows[:1] if number == 0 else rows[1:]))
    (tmp_path / "test.jsonl").write_bytes(lines([{"messages": asked(500)}]))
    said = (
        r"of 5, is that messages\[2\]\.role is \"nun\": say what that means in dataset\.roles: row 1 of "
        r"train-00001-of-00002\.jsonl is the first"
    )
    with pytest.raises(DatasetError, match=said):
        measured(tmp_path)
    rejected = pq.read_table(tmp_path / "out" / "train_sft.rejected.parquet").to_pylist()
    assert [row["row"] for row in rejected] == list(range(6))
    assert all(row["problem"] for row in rejected)


OF_THEIR_OWN = {
    "a greeting that train and test share",
    "a greeting in every row",
    "markup of the model in text",
    "one split only",
}


def test_every_input_is_in_the_table_or_has_a_test_of_its_own() -> None:
    assert GIVES.keys() | OF_THEIR_OWN == INPUTS.keys()


WRITTEN = [
    {
        "role": "system",
        "content": 'Tools:\n{"name": "get_weather", "parameters": {"type": "object", "properties": {"city": '
        '{"type": "string", "default": null}}}}',
    },
    {"role": "user", "content": "What is the weather in town number 0?"},
    {"role": "assistant", "content": '{"name": "get_weather", "arguments": {"city": "Town"}}'},
    {"role": "user", "content": "12 degrees"},
    {"role": "assistant", "content": "It has 12 degrees in town 0."},
]


def test_tools_can_be_written_as_text_which_every_template_and_endpoint_passes_on(tmp_path: Path) -> None:
    INPUTS["calls of tools"](tmp_path)
    train, _, broken = measured(tmp_path, tools="text")
    assert (len(train), broken) == (ROWS, {})
    (row,) = (row for row in train if row["prompt"] == WRITTEN[1]["content"])
    assert row.keys() == {"prompt", "prompt_id", "messages"}
    assert [dict(message) for message in row["messages"]] == WRITTEN


def test_a_system_message_several_calls_and_their_answers_are_text_as_well(tmp_path: Path) -> None:
    calls = [CALL, {**CALL, "id": "c1"}]
    said = [{"role": "tool", "tool_call_id": call["id"], "content": f"{n}"} for n, call in enumerate(calls)]
    rows = [
        [
            {"role": "system", "content": "Be brief."},
            *asked(n)[:1],
            {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
            *said,
            asked(n)[1],
        ]
        for n in range(ROWS)
    ]
    (tmp_path / "train.jsonl").write_bytes(lines([{"messages": row, "tools": [TOOL]} for row in rows]))
    (tmp_path / "test.jsonl").write_bytes(lines([{"messages": asked(500)}]))
    train, _, broken = measured(tmp_path, tools="text")
    assert (len(train), broken) == (ROWS, {})
    (row,) = (row for row in train if row["prompt"] == asked(0)[0]["content"])
    call = '{"name": "get_weather", "arguments": {"city": "Town"}}'
    assert [message["content"] for message in row["messages"]] == [
        f"Be brief.\n\n{WRITTEN[0]['content']}",
        asked(0)[0]["content"],
        f"Let me see.\n{call}\n{call}",
        "0\n1",
        asked(0)[1]["content"],
    ]
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant", "user", "assistant"]
