"""Written files are what their ref promises, and rows that break a rule are found by looking."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from phi_assets.config.dataset import ContractSection, DatasetSection, Policies, SampleSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.verify import (
    VERIFIED_RULES,
    common,
    examine,
    examples,
    file_problems,
    judging_problems,
    keys,
)
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.dataset.sources.schema import POLARS_SCHEMA
from phi_assets.refs import SampleRef
from tests.dataset.prepared import chat_rows, write_sample
from tests.dataset.shards import make_rows, write_shards

Row = dict[str, Any]


def parquet(path: Path, rows: list[Row]) -> Path:
    """The rows as the Parquet file of a sample."""
    pl.DataFrame(rows, schema=POLARS_SCHEMA).write_parquet(path, row_group_size=7)
    return path


def test_what_was_written_has_no_problems(tmp_path: Path) -> None:
    assert file_problems(write_sample(tmp_path, "train_sft", make_rows(1_200))) == []
    assert file_problems(write_sample(tmp_path, "test_sft", chat_rows(1))) == []
    assert file_problems(write_sample(tmp_path, "test_gen", [])) == []


def test_very_long_lines_are_counted_and_compared(tmp_path: Path) -> None:
    rows = chat_rows(4)
    for row in rows:
        row["messages"][1]["content"] = row["prompt_id"] * 50_000
    assert file_problems(write_sample(tmp_path, "train_sft", rows)) == []


def cut_the_last_line(ref: SampleRef) -> None:
    path = Path(ref.jsonl)
    path.write_bytes(path.read_bytes()[:-10])


def repeat_the_first_line(ref: SampleRef) -> None:
    path = Path(ref.jsonl)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], *lines]))


def swap_the_last_two_lines(ref: SampleRef) -> None:
    path = Path(ref.jsonl)
    *lines, last, end = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:-1], last, lines[-1], end]))


def remove_jsonl(ref: SampleRef) -> None:
    Path(ref.jsonl).unlink()


def empty_jsonl(ref: SampleRef) -> None:
    Path(ref.jsonl).write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (cut_the_last_line, ["bytes, expected", "19 complete lines, expected 20", "last line of"]),
        (repeat_the_first_line, ["bytes, expected", "21 complete lines, expected 20"]),
        (swap_the_last_two_lines, ["The last line of"]),
        (remove_jsonl, ["cannot be read"]),
        (empty_jsonl, ["0 bytes, expected", "0 complete lines"]),
    ],
)
def test_damaged_json_lines_are_named_and_told_from_damaged_parquet(
    tmp_path: Path, damage: Callable[[SampleRef], None], expected: list[str]
) -> None:
    ref = write_sample(tmp_path, "train_sft", chat_rows(20))
    damage(ref)
    problems = file_problems(ref)
    assert len(problems) == len(expected)
    for problem, words in zip(problems, expected, strict=True):
        assert words in problem
        assert str(ref.jsonl) in problem
    assert judging_problems(ref) == []


def rewrite(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[SampleRef], None]:
    def damage(ref: SampleRef) -> None:
        change(pl.read_parquet(Path(ref.parquet))).write_parquet(Path(ref.parquet))

    return damage


def truncate(ref: SampleRef) -> None:
    path = Path(ref.parquet)
    path.write_bytes(path.read_bytes()[:-100])


PARQUET_DAMAGE: list[tuple[Callable[[SampleRef], None], str]] = [
    (rewrite(lambda frame: frame.head(19)), "has 19 rows, expected 20"),
    (rewrite(lambda frame: frame.drop("prompt_id")), "has the columns prompt: String, messages"),
    (rewrite(lambda frame: frame.select("messages", "prompt", "prompt_id")), "has the columns messages"),
    (rewrite(lambda frame: frame.with_columns(extra=1)), "extra: Int32"),
    (rewrite(lambda frame: frame.with_columns(prompt_id=pl.int_range(pl.len()))), "prompt_id: Int64"),
    (truncate, "is not readable Parquet"),
    (lambda ref: Path(ref.parquet).unlink(), "is not readable Parquet"),
]


@pytest.mark.parametrize(("damage", "expected"), PARQUET_DAMAGE)
def test_a_damaged_parquet_file_is_named(tmp_path: Path, damage: Callable[[SampleRef], None], expected: str) -> None:
    ref = write_sample(tmp_path, "train_sft", chat_rows(20))
    damage(ref)
    (problem,) = judging_problems(ref)
    assert expected in problem
    assert str(ref.parquet) in problem
    assert file_problems(ref) == [problem]


def test_a_report_that_has_gone_or_is_about_something_else_is_a_problem(tmp_path: Path) -> None:
    ref = write_sample(tmp_path, "train_sft", chat_rows(20))
    other = write_sample(tmp_path / "other", "train_sft", chat_rows(5))
    assert judging_problems(ref.model_copy(update={"report": other.report})) == [
        f"The report {other.report} is about 5 rows of train_sft, expected 20"
    ]
    Path(ref.report).unlink()
    (problem,) = judging_problems(ref)
    assert f"The report {ref.report} cannot be read" in problem


USER, ASSISTANT, SYSTEM, TOOL = ({"role": role, "content": role} for role in ("user", "assistant", "system", "tool"))
OTHER, NO_ROLE, NO_CONTENT = (
    {"role": "tool", "content": "x"},
    {"role": None, "content": "x"},
    {"role": "user", "content": None},
)
BLANK = {"role": "assistant", "content": " \u00a0\n"}


def talk(*messages: Row, prompt: str | None = None, prompt_id: str | None = "unique") -> Row:
    """A row with these messages; the prompt is the first one of the user unless given."""
    question = next((message["content"] for message in messages if message["role"] == "user"), None)
    return {"prompt": question if prompt is None else prompt, "prompt_id": prompt_id, "messages": list(messages)}


ROWS: dict[str, tuple[Row, set[str]]] = {
    "one turn": (talk(USER, ASSISTANT), set()),
    "system and two turns": (talk(SYSTEM, USER, ASSISTANT, USER, ASSISTANT), set()),
    "ends with a question": (talk(USER, ASSISTANT, USER), {"ending"}),
    "only a question": (talk(USER), {"ending"}),
    "assistant first": (talk(ASSISTANT, USER, ASSISTANT), {"roles"}),
    "user twice": (talk(USER, USER, ASSISTANT), {"roles"}),
    "assistant twice": (talk(USER, ASSISTANT, ASSISTANT), {"roles"}),
    "system in between": (talk(USER, SYSTEM, ASSISTANT), {"roles"}),
    "two system messages": (talk(SYSTEM, SYSTEM, USER, ASSISTANT), {"roles"}),
    "system alone": (talk(SYSTEM, prompt=""), {"roles", "ending"}),
    "unknown role": (talk(USER, OTHER, USER, ASSISTANT), {"roles"}),
    "blank": (talk(USER, BLANK), {"empty_content"}),
    "empty": (talk({"role": "user", "content": ""}, ASSISTANT), {"empty_content"}),
    "another prompt": (talk(USER, ASSISTANT, prompt="User"), {"prompt_mismatch"}),
    "markup": (talk(USER, {"role": "assistant", "content": "so <|end|> it"}), {"markup"}),
    "nearly markup": (talk(USER, {"role": "assistant", "content": "so <|END|> [inst] it"}), set()),
    "a tool": (talk(USER, ASSISTANT, TOOL, TOOL, ASSISTANT, USER, ASSISTANT), set()),
    "a tool that nobody called": (talk(USER, TOOL, ASSISTANT), {"roles"}),
    "no messages": (talk(prompt="hello"), {"no_messages"}),
    "messages missing": ({"prompt": "hello", "prompt_id": "unique", "messages": None}, {"schema"}),
    "prompt missing": ({**talk(USER, ASSISTANT), "prompt": None}, {"schema"}),
    "prompt_id missing": (talk(USER, ASSISTANT, prompt_id=None), {"schema"}),
    "role missing": (talk(USER, NO_ROLE, USER, ASSISTANT), {"schema"}),
    "content missing": (talk(USER, ASSISTANT, NO_CONTENT, ASSISTANT), {"schema"}),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_breaks_the_rules_that_it_breaks(tmp_path: Path, name: str) -> None:
    row, expected = ROWS[name]
    found = examine(parquet(tmp_path / "rows.parquet", [*chat_rows(3), row, *chat_rows(3, "other")]))
    assert set(found.broken) == set(VERIFIED_RULES)
    assert {rule: rows for rule, rows in found.broken.items() if rows} == {rule: [3] for rule in expected}
    assert found.rows == 7


def test_the_engine_and_the_verification_agree_about_every_row(tmp_path: Path) -> None:
    rows = [{**row, "prompt_id": row["prompt_id"] and str(number)} for number, (row, _) in enumerate(ROWS.values())] + [
        *chat_rows(3),
        *chat_rows(2),
    ]
    write_shards(tmp_path, "test_sft", rows)
    raw = fetch_split(DatasetSection(source="local", path=tmp_path), "test_sft", tmp_path, lambda _: None)
    strict = ContractSection(policies=Policies(prompt_mismatch="drop"))
    (ref,) = prepare_split(raw, SampleSection(percent=100), strict, tmp_path / "out", lambda _: None)
    quarantine = pl.read_parquet(Path(ref.quarantine))
    engine = {row: set(rules) for row, rules in quarantine.select("row", "rules").iter_rows()}

    verified: dict[int, set[str]] = {}
    for rule, broken in examine(parquet(tmp_path / "rows.parquet", rows)).broken.items():
        for row in broken:
            verified.setdefault(row, set()).add(rule)
    # To the engine, what is left out for another reason repeats nothing.
    repetitions = {"duplicate_id", "duplicate_conversation"}
    verified = {row: rules - repetitions or rules for row, rules in verified.items()}
    assert engine == verified
    assert file_problems(ref) == []


def test_repetitions_are_found_across_scans(tmp_path: Path) -> None:
    rows = chat_rows(25_000, turns=1)
    rows[20_001] = {**rows[20_001], "prompt_id": rows[3]["prompt_id"]}
    rows[24_000] = {**rows[24_000], "messages": rows[11_000]["messages"], "prompt": rows[11_000]["prompt"]}
    pl.DataFrame(rows, schema=POLARS_SCHEMA).write_parquet(tmp_path / "rows.parquet", row_group_size=1000)
    broken = examine(tmp_path / "rows.parquet").broken
    assert broken["duplicate_id"] == [20_001]
    assert broken["duplicate_conversation"] == [24_000]
    assert [each.model_dump() for each in examples(tmp_path / "rows.parquet", [20_001, 24_000])] == [
        {"row": row, "prompt_id": rows[row]["prompt_id"], "prompt": rows[row]["prompt"]} for row in (20_001, 24_000)
    ]


def test_conversations_that_differ_in_order_roles_or_nothing_else(tmp_path: Path) -> None:
    first = talk(USER, ASSISTANT, prompt_id="1")
    rows = [
        first,
        talk({"role": "user", "content": "assistant"}, {"role": "assistant", "content": "user"}, prompt_id="2"),
        talk(USER, ASSISTANT, USER, ASSISTANT, prompt_id="3"),
        talk(USER, {"role": "user", "content": "assistant"}, prompt_id="4"),
        {**first, "prompt_id": "5"},
    ]
    assert examine(parquet(tmp_path / "rows.parquet", rows)).broken["duplicate_conversation"] == [4]


def test_rows_in_common_by_id_and_by_question(tmp_path: Path) -> None:
    rows, others = chat_rows(10), chat_rows(10, "other")
    others[0]["prompt_id"] = rows[2]["prompt_id"]
    others[1]["messages"][0]["content"] = "  QUESTION 0... of chat — 5!"
    others[2]["messages"].insert(0, SYSTEM)
    others[2]["messages"][1]["content"] = rows[7]["prompt"]
    # Punctuation alone says nothing about where it comes from.
    rows[8]["messages"][0]["content"] = "???"
    others[3]["messages"][0]["content"] = "!"
    first = examine(parquet(tmp_path / "rows.parquet", rows)).keys
    second = keys(parquet(tmp_path / "others.parquet", others))
    assert second.equals(examine(tmp_path / "others.parquet").keys)
    found = common(first, second)
    assert (found.ids, found.questions, found.rows) == ([2], [5, 7], [2, 5, 7])
    assert common(second, first).questions == [1, 2]
    assert common(first, keys(parquet(tmp_path / "none.parquet", []))).rows == []


def test_what_is_missing_is_not_in_common(tmp_path: Path) -> None:
    rows = [talk(USER, ASSISTANT, prompt_id=None), {"prompt": "a", "prompt_id": "b", "messages": None}]
    some = keys(parquet(tmp_path / "rows.parquet", rows))
    assert common(some.head(1), some.tail(1)).rows == []
    assert common(some.tail(1), keys(parquet(tmp_path / "more.parquet", [{**rows[1], "prompt_id": "c"}]))).rows == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 no")
    for read in (examine, keys):
        with pytest.raises(DatasetError, match=r"rows\.parquet cannot be read: .*; materialize the sample again"):
            read(tmp_path / "rows.parquet")
    pl.DataFrame({"prompt": ["a"]}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DatasetError, match=r"rows\.parquet cannot be read"):
        examine(tmp_path / "rows.parquet")
