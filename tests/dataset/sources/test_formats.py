"""What becomes of single rows, and how a format is told from columns."""

import json
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
import pytest

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sources.fields import Fields
from phi_assets.dataset.sources.formats import choose_format
from phi_assets.dataset.sources.row_mapping import PROBLEM_CHARACTERS, Row, RowMapping

SPOKEN = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def convert(row: dict[str, Any], **section: Any) -> Row:
    """The row, mapped by its own columns."""
    return mapping_of(list(row), **section).map(row)


def mapping_of(found: list[str], **section: Any) -> RowMapping:
    """The mapping of a file with these columns."""
    dataset = DatasetSection(**section)
    return RowMapping(choose_format(dataset, found, "file"), dataset.roles, Fields(dataset.drop))


def turns(*messages: tuple[str | None, str | None]) -> list[tuple[str | None, str | None]]:
    """Role and content, as people write them, in the order in which columns hold them."""
    return [(content, role) for role, content in messages]


ASKED = turns(("user", "q"), ("assistant", "a"))
WITH_SYSTEM = turns(("system", "s"), ("user", "q"), ("assistant", "a"))


def conversation_id(*messages: tuple[str | None, str | None]) -> str:
    """The id of a conversation whose source has none."""
    return sha256(json.dumps(messages).encode()).hexdigest()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": list(SPOKEN)}, ASKED),
        ({"messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, ASKED),
        ({"messages": [{"from": None, "value": None, **message} for message in SPOKEN]}, ASKED),
        ({"messages": [{"role": "Human ", "content": "q"}, {"role": "BOT", "content": "a"}]}, ASKED),
        ({"messages": [{"role": "developer", "content": "s"}, *SPOKEN]}, WITH_SYSTEM),
        ({"messages": [{"weight": 1, **message} for message in SPOKEN], "score": 3}, ASKED),
        ({"messages": []}, []),
        (
            {"messages": [{"role": "user", "content": None}, {"role": None, "content": "a"}]},
            [(None, "user"), ("a", None)],
        ),
        ({"prompt": "q", "completion": "a"}, ASKED),
        ({"prompt": [SPOKEN[0]], "completion": [SPOKEN[1]]}, ASKED),
        ({"prompt": [{"role": "system", "content": "s"}, SPOKEN[0]], "completion": "a"}, WITH_SYSTEM),
        ({"prompt": "", "completion": ""}, turns(("user", ""), ("assistant", ""))),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, ASKED),
        ({"conversations": list(SPOKEN)}, ASKED),
        ({"conversations": list(SPOKEN), "system": "s"}, WITH_SYSTEM),
        ({"conversations": list(SPOKEN), "system": ""}, ASKED),
        ({"conversations": [{"from": "system", "value": "s"}, *SPOKEN], "system": "s"}, WITH_SYSTEM),
        ({"messages": list(SPOKEN), "system": "s"}, WITH_SYSTEM),
        ({"prompt": "q", "completion": "a", "system": "s"}, WITH_SYSTEM),
        ({"messages": orjson.dumps(SPOKEN).decode()}, ASKED),
        ({"messages": repr(list(SPOKEN))}, ASKED),
        ({"messages": [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in SPOKEN]}, ASKED),
        (
            {"instruction": "r", "output": "b", "history": [["q", "a"]], "system": "s"},
            [*WITH_SYSTEM, *turns(("user", "r"), ("assistant", "b"))],
        ),
        ({"instruction": "q", "output": "a"}, ASKED),
        ({"instruction": "q", "input": "", "output": "a", "system": None}, ASKED),
        ({"instruction": "q", "input": "i", "output": "a"}, turns(("user", "q\n\ni"), ("assistant", "a"))),
        ({"instruction": "q", "input": None, "output": "a", "system": "s", "text": "all of it"}, WITH_SYSTEM),
    ],
)
def test_every_format_becomes_messages(row: dict[str, Any], expected: list[tuple[str | None, str | None]]) -> None:
    mapped = convert(row)
    assert mapped.problem is None
    assert mapped.messages == expected


def test_the_prompt_is_the_first_question_and_the_id_that_of_the_whole_conversation() -> None:
    mapped = convert({"messages": [{"role": "system", "content": "s"}, *SPOKEN]})
    assert (mapped.prompt, mapped.prompt_id) == ("q", conversation_id(*WITH_SYSTEM))
    assert convert({"instruction": "q", "input": "i", "output": "a"}).prompt == "q\n\ni"


@pytest.mark.parametrize(
    ("row", "prompt", "prompt_id"),
    [
        ({"messages": list(SPOKEN), "prompt": "p", "prompt_id": "7"}, "p", "7"),
        ({"messages": list(SPOKEN), "prompt": None, "prompt_id": 7}, "q", "7"),
        ({"messages": list(SPOKEN), "prompt_id": 7.0}, "q", "7"),
        ({"messages": list(SPOKEN), "prompt_id": 7.5}, "q", "7.5"),
        ({"messages": list(SPOKEN), "prompt_id": UUID(int=7)}, "q", "00000000-0000-0000-0000-000000000007"),
        ({"messages": list(SPOKEN), "prompt_id": b"7"}, "q", "7"),
        ({"messages": list(SPOKEN), "prompt_id": b"\xff"}, "q", "ff"),
        ({"messages": list(SPOKEN), "prompt_id": {"page": 7}}, "q", '{"page": 7}'),
        ({"messages": list(SPOKEN), "prompt_id": float("nan")}, "q", conversation_id(*ASKED)),
        ({"messages": list(SPOKEN), "prompt": "", "prompt_id": ""}, "q", conversation_id(*ASKED)),
        ({"prompt": "q", "completion": "a", "prompt_id": "7"}, "q", "7"),
    ],
)
def test_prompt_and_id_of_the_source_are_kept(row: dict[str, Any], prompt: str, prompt_id: str) -> None:
    mapped = convert(row)
    assert (mapped.prompt, mapped.prompt_id) == (prompt, prompt_id)


def test_rows_in_which_nobody_asks_have_ids_of_their_own() -> None:
    rows = [convert({"messages": [{"role": "assistant", "content": text}]}) for text in ("a", "b")]
    assert [row.prompt for row in rows] == ["", ""]
    assert rows[0].prompt_id != rows[1].prompt_id


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (["messages"], "the row is an array, not an object"),
        ("messages", "the row is text, not an object"),
        (None, "the row is null, not an object"),
        ({"messages": "text"}, "messages is not JSON text"),
        ({"messages": '"text"'}, "messages is text, not an array of messages"),
        ({"messages": None}, "messages is missing"),
        ({}, "messages is missing"),
        ({"messages": {"role": "user"}}, "messages is an object, not an array of messages"),
        ({"messages": [SPOKEN[0], None]}, "messages[1] is null, not an object"),
        ({"messages": [["user", "q"]]}, "messages[0] is an array, not an object"),
        (
            {"messages": [{"speaker": "A", "text": "q"}]},
            'messages[0] has neither role nor from: it has ["speaker", "text"]',
        ),
        ({"messages": [{}]}, "messages[0] has neither role nor from: it has []"),
        (
            {"messages": [{"role": "narrator", "content": "q"}]},
            'messages[0].role is "narrator": say what that means in dataset.roles',
        ),
        ({"messages": [{"from": "narrator", "value": "q"}]}, 'messages[0].from is "narrator": say what'),
        ({"messages": [{"role": 1, "content": "q"}]}, "messages[0].role is 1: say what"),
        (
            {"messages": [SPOKEN[0], {"role": "assistant", "content": ["a"]}]},
            "messages[1].content[0] is text, not a part of a message",
        ),
        ({"messages": [{"role": "user", "content": 1.5}]}, "messages[0].content is a number, not text"),
        ({"messages": [{"role": "user", "content": True}]}, "messages[0].content is true or false, not text"),
        ({"messages": [{"role": "user", "content": "a\ud800"}]}, "messages[0].content has half of a surrogate pair"),
        ({"messages": [{"role": "a\ud800", "content": "a"}]}, 'messages[0].role is "a\\ud800": say what'),
        ({"messages": [{"a\ud800": 1}]}, 'it has ["a\\ud800"]'),
        ({"messages": [], "prompt": ["q"]}, "prompt is an array, not text"),
        ({"messages": [{"role": "system", "content": "s"}], "system": "other"}, "system says something else than"),
        ({"messages": list(SPOKEN), "tools": 1}, "tools is a number, not an array of tools"),
        ({"messages": list(SPOKEN), "tools": [{"type": "function"}]}, "tools[0] is no tool"),
        ({"messages": list(SPOKEN), "tools": [{"name": "f", "minimum": float("nan")}]}, "a number that JSON does not"),
        ({"messages": [{"from": "function_call", "value": "f(x)"}]}, "messages[0].value is not JSON text"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls holds a call",
        ),
    ],
)
def test_what_cannot_be_mapped_says_why_and_is_kept_as_json(row: Any, problem: str) -> None:
    mapping = mapping_of(["messages"])
    mapped = mapping.map(row)
    assert mapped.messages is None
    assert mapped.problem is not None
    assert problem in mapped.problem
    # The standard library's reader knows halves of pairs and numbers that are none, orjson does not.
    if "\\ud800" not in mapped.prompt and "NaN" not in mapped.prompt:
        assert orjson.loads(mapped.prompt) == row
    assert len(mapped.prompt_id) == 64
    for text in (mapped.prompt, mapped.prompt_id, mapped.problem):
        text.encode()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "q", "completion": None}, "completion is missing"),
        ({"prompt": 1, "completion": "a"}, "prompt is a number, neither text nor an array of messages"),
        ({"instruction": None, "output": "a"}, "instruction is missing"),
        ({"instruction": "q", "output": ["a"]}, "output is an array, not text"),
        ({"instruction": "q", "output": "a", "input": {}}, "input is an object, not text"),
        ({"conversations": '"q"'}, "conversations is text, not an array"),
        ({"instruction": "q", "output": "a", "history": [["q"]]}, "history[0] is an array, not a question with"),
        ({"conversations": [], "system": 1}, "system is a number, not text"),
    ],
)
def test_problems_name_the_formats_own_columns(row: dict[str, Any], problem: str) -> None:
    assert problem in (convert(row).problem or "")


def test_a_long_row_that_cannot_be_mapped_is_cut_but_not_confused_with_another() -> None:
    rows = [convert({"messages": "x" * 10_000 + end}) for end in "ab"]
    assert all(len(row.prompt) == PROBLEM_CHARACTERS for row in rows)
    assert rows[0].prompt_id != rows[1].prompt_id


def test_a_row_that_is_nested_beyond_showing_is_a_problem_too() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    assert convert({"messages": [nested]}).prompt.startswith("(cannot be shown")


def test_cells_hold_conversations_as_json_text() -> None:
    mapping = mapping_of(["messages"])
    assert mapping.map({"messages": orjson.dumps(SPOKEN).decode()}, json_cells=True).messages == ASKED
    for cell, problem in {
        "": "messages is not JSON text",
        "{'role': 'user'}": "messages is an object, not an array",
        "{role: user}": "messages is not JSON text",
        '"q"': "messages is text, not an array",
        '[{"role": "user", "content": "\\ud800"}]': "messages[0].content has half of a surrogate pair",
    }.items():
        assert problem in (mapping.map({"messages": cell}, json_cells=True).problem or "")


def test_columns_and_roles_can_be_called_otherwise() -> None:
    row = {"dialogue": [{"role": "visitor", "content": "q"}, {"role": "Gpt", "content": "a"}], "key": 5, "messages": 1}
    mapped = convert(row, columns={"messages": "dialogue", "prompt_id": "key"}, roles={"visitor": "user"})
    assert (mapped.messages, mapped.prompt_id) == (ASKED, "5")
    # What the recipe says of a role goes before what is usual.
    swapped = convert({"conversations": [{"from": "gpt", "value": "q"}]}, roles={"gpt": "user"})
    assert swapped.messages == turns(("user", "q"))


@pytest.mark.parametrize(
    ("columns", "section", "expected"),
    [
        (["prompt", "prompt_id", "messages"], {}, "messages"),
        (["prompt", "completion"], {}, "prompt_completion"),
        (["id", "conversations"], {}, "sharegpt"),
        (["instruction", "input", "output", "text"], {}, "alpaca"),
        (["question", "answer"], {"columns": {"prompt": "question", "completion": "answer"}}, "prompt_completion"),
        (["messages", "conversations"], {"format": "sharegpt"}, "sharegpt"),
    ],
)
def test_auto_tells_the_format_from_the_columns(columns: list[str], section: dict[str, Any], expected: str) -> None:
    assert choose_format(DatasetSection(**section), columns, "file").name == expected


@pytest.mark.parametrize(
    ("columns", "section", "complaints"),
    [
        (
            ["text", "label"],
            {},
            [
                "file has the columns text, label",
                "messages needs messages (missing: messages)",
                "prompt_completion needs prompt and completion (missing: prompt, completion)",
                "sharegpt needs conversations (missing",
                "alpaca needs instruction and output (missing",
                "dataset.columns",
            ],
        ),
        (["prompt", "text"], {}, ["prompt_completion needs prompt and completion (missing: completion)"]),
        ([], {}, ["file has the columns (none)"]),
        (["messages"], {"format": "alpaca"}, ["file has the columns messages", "alpaca needs instruction and output"]),
        (["messages"], {"columns": {"messages": "chat"}}, ["messages needs chat (missing: chat)"]),
        (["messages", "instruction", "output"], {}, ["could be in the format messages or alpaca", "dataset.format"]),
        (["messages"], {"columns": {"mesages": "x"}}, ["dataset.columns has mesages", "its keys are the columns"]),
        (["messages"], {"format": "messages", "columns": {"output": "x"}}, ["output", "columns of messages (messages"]),
    ],
)
def test_no_format_or_more_than_one_is_an_error_that_says_what_is_there_and_what_is_needed(
    columns: list[str], section: dict[str, Any], complaints: list[str]
) -> None:
    with pytest.raises(DatasetError) as caught:
        choose_format(DatasetSection(**section), columns, "file")
    for complaint in complaints:
        assert complaint in str(caught.value)
