"""The chat contract: which rules each row breaks, what each policy does with it, and that no row vanishes."""

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi_assets.config.dataset import ContractSection, DatasetSection, Policies, Policy, SampleSection
from phi_assets.config.section import RECIPES_DIR
from phi_assets.dataset.contract.markup import FAMILIES
from phi_assets.dataset.contract.rules import RULES, applicable_rules
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.reports.report import SplitReport, read_report
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.split_files import QUARANTINE_SCHEMA
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.dataset.sources.schema import CONVERTED_SCHEMA
from phi_assets.fingerprint import file_sha256, fingerprint
from phi_assets.refs import DataFile, SampleRef, SplitRef
from tests.benchmarks import ultrachat
from tests.dataset.shards import write_shards

Row = dict[str, Any]

EVERYTHING = SampleSection(mode="head", percent=100)
TOKENIZER = RECIPES_DIR.parent / "emulator/registry/models/phi3-tiny/data/tokenizer/tokenizer.json"


def quiet(_: str) -> None:
    """Says nothing."""


def said(*turns: str | None, roles: Sequence[str | None] = ("user", "assistant")) -> list[dict[str, str | None]]:
    """Messages in turn."""
    return [{"content": text, "role": roles[number % len(roles)]} for number, text in enumerate(turns)]


def chat(name: str, messages: Any = ..., **changes: Any) -> Row:
    """A row that keeps the contract unless it is changed."""
    messages = said(f"What is {name}?", f"{name}, that is all.") if messages is ... else messages
    first = next((message["content"] for message in messages or () if message and message["role"] == "user"), name)
    return {"prompt": first, "prompt_id": f"id of {name}", "messages": messages} | changes


def raw(folder: Path, split: str, rows: Sequence[Row], shards: int = 1, group: int = 1000) -> SplitRef:
    """The rows as they lie: who fetches them converts those with other names of roles."""
    return as_they_lie(split, write_shards(folder, split, rows, shards, group))


def as_they_lie(split: str, files: Sequence[Path]) -> SplitRef:
    return SplitRef(
        split=split,
        files=tuple(map(DataFile.at, files)),
        rows=sum(pq.read_metadata(file).num_rows for file in files),
        size_bytes=sum(file.stat().st_size for file in files),
        sha256=fingerprint([file_sha256(file) for file in files]),
        source=str(files[0].parent.parent),
    )


def policies(every: Policy, **others: str) -> Policies:
    """The same policy for all rules but some."""
    return Policies.model_validate(dict.fromkeys(RULES, every) | others)


def contract(every: Policy, **others: Any) -> ContractSection:
    """The same policy for all rules."""
    return ContractSection(policies=policies(every), **others)


def quarantined(ref: SampleRef) -> dict[int, list[str]]:
    """The rules that each row in quarantine breaks, by its number."""
    if not ref.quarantine:
        return {}
    return {row["row"]: row["rules"] for row in pq.read_table(ref.quarantine).to_pylist()}


def kept(*refs: SampleRef) -> list[Row]:
    """All rows of the samples' JSON Lines."""
    return [row for ref in refs for row in read_jsonl(Path(ref.jsonl))]


def unseen_sample(folder: Path, split: str, rows: Sequence[Row]) -> SampleRef:
    """The sample of a split's test split, with all of the rows, whatever they are."""
    ref = raw(folder / "test", split.replace("train", "test"), rows)
    return prepare_split(ref, EVERYTHING, contract("warn"), folder / "test-out", quiet)[0]


def visible(folder: Path) -> list[Path]:
    """Files that a user finds in a folder."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


@dataclass(frozen=True)
class Case:
    """Rows and which rules they break, when all rules are asked for and every broken one puts a row in quarantine."""

    rows: tuple[Row, ...]
    broken: dict[int, tuple[str, ...]]
    split: str = "train_sft"
    unseen: tuple[Row, ...] = ()


def alone(row: Row, *broken: str, split: str = "train_sft") -> Case:
    return Case((row,), {0: broken} if broken else {}, split)


USER_LAST = said("One?", "Two.", "Three?")
WITH_SYSTEM = said("Be brief.", "One?", "Two.", roles=("system", "user", "assistant"))
FOUR = said("One?", "Two.", "Three?", "Four.")
LEAKED = chat("the leak", said("What's a leak, then?", "This."))

CASES = {
    "good": alone(chat("it")),
    "four messages": alone(chat("it", FOUR)),
    "system first": alone(chat("it", WITH_SYSTEM)),
    "prompt null": alone(chat("it", prompt=None), "schema"),
    "prompt_id null": alone(chat("it", prompt_id=None), "schema"),
    "messages null": alone(chat("it", None), "schema"),
    "everything null": alone(chat("it", None, prompt=None, prompt_id=None), "schema"),
    "first message null": alone(chat("it", [None, *FOUR[1:]], prompt="One?"), "schema"),
    "middle message null": alone(chat("it", [FOUR[0], None, *FOUR[2:]]), "schema"),
    "last message null": alone(chat("it", [*FOUR[:3], None]), "schema"),
    "only a null message": alone(chat("it", [None]), "schema"),
    "content null": alone(chat("it", said("One?", None)), "schema"),
    "question null": alone(chat("it", said(None, "Two."), prompt="One?"), "schema"),
    "role null": alone(chat("it", said("One?", "Two.", roles=("user", None))), "schema"),
    "no messages": alone(chat("it", []), "no_messages"),
    "assistant first": alone(
        chat("it", said("One.", "Two?", "Three.", roles=("assistant", "user"))),
        "roles",
    ),
    "user twice": alone(chat("it", said("One?", "Two?", "Three.", roles=("user", "user", "assistant"))), "roles"),
    "assistant twice": alone(
        chat("it", said("One?", "Two.", "Three.", roles=("user", "assistant", "assistant"))), "roles"
    ),
    "system later": alone(chat("it", [*FOUR[:2], {"content": "Be brief.", "role": "system"}, *FOUR[2:]]), "roles"),
    "system last": alone(chat("it", [*FOUR, {"content": "Be brief.", "role": "system"}]), "roles", "ending"),
    "system twice": alone(chat("it", [WITH_SYSTEM[0], *WITH_SYSTEM]), "roles"),
    "system alone": alone(chat("it", WITH_SYSTEM[:1]), "roles", "ending"),
    "no user": alone(chat("it", [WITH_SYSTEM[0], WITH_SYSTEM[2]]), "roles"),
    "unknown role": alone(chat("it", said("One?", "Two.", roles=("user", "tool"))), "roles", "ending"),
    "capital role": alone(
        chat("it", said("One?", "Two.", roles=("User", "assistant")), prompt="One?"),
        "roles",
    ),
    "role with a space": alone(chat("it", said("One?", "Two.", roles=("user ", "assistant"))), "roles"),
    "role empty": alone(chat("it", said("One?", "Two.", "Three.", roles=("user", "", "assistant"))), "roles"),
    "two roles in one": alone(
        chat("it", said("One?", "Two.", roles=("user", "assistant\x1fuser\x1fassistant"))), "roles", "ending"
    ),
    "two roles in one, gen": alone(chat("it", said("One?", roles=("user\x1fassistant",))), "roles", split="train_gen"),
    "markup in a question": alone(chat("it", said("What does <|user|> mean?", "a")), "markup"),
    "markup in a later answer": alone(chat("it", said("One?", "Two.", "Three?", "[/INST]")), "markup"),
    "markup of another case": alone(chat("it", said("What does <|USER|> mean?", "< |user|> <|user |> <s>"))),
    "ends with user": alone(chat("it", USER_LAST), "ending"),
    "ends with user, test": alone(chat("it", USER_LAST), "ending", split="test_sft"),
    "ends with user, gen": alone(chat("it", USER_LAST), split="train_gen"),
    "question alone": alone(chat("it", USER_LAST[:1]), "ending"),
    "question alone, gen": alone(chat("it", USER_LAST[:1]), split="test_gen"),
    "ends with assistant, gen": alone(chat("it", FOUR), split="train_gen"),
    "question blank": alone(chat("it", said(" ", "Two.")), "empty_content"),
    "system blank": alone(chat("it", [{"content": "", "role": "system"}, *FOUR]), "empty_content"),
    "not quite blank": alone(chat("it", said("One?", "\u200b"))),
    "prompt differs": alone(chat("it", prompt="What else?"), "prompt_mismatch"),
    "prompt in other case": alone(chat("it", FOUR, prompt="one?"), "prompt_mismatch"),
    "prompt with a newline": alone(chat("it", FOUR, prompt="One?\n"), "prompt_mismatch"),
    "prompt is the answer": alone(chat("it", FOUR, prompt="Two."), "prompt_mismatch"),
    "prompt is the system's": alone(chat("it", WITH_SYSTEM, prompt="Be brief."), "prompt_mismatch"),
    "same id": Case((chat("it"), chat("other", prompt_id="id of it")), {1: ("duplicate_id",)}),
    "same conversation": Case((chat("it"), chat("it", prompt_id="other")), {1: ("duplicate_conversation",)}),
    "same row twice more": Case(
        (chat("it"), chat("it"), chat("other"), chat("it")),
        {1: ("duplicate_id", "duplicate_conversation"), 3: ("duplicate_id", "duplicate_conversation")},
    ),
    "same messages in another order": Case((chat("it", FOUR), chat("other", [*FOUR[2:], *FOUR[:2]])), {}),
    "same messages, fewer": Case((chat("it", FOUR), chat("other", FOUR[:2])), {}),
    "same letters, other cuts": Case((chat("it", said("ab", "c")), chat("other", said("a", "bc"))), {}),
    "same contents in other roles": Case(
        (
            chat("it", said("One", "Two", "Three", roles=("system", "user", "assistant"))),
            chat("other", said("Two", "One", "Three", roles=("system", "user", "assistant"))),
        ),
        {},
    ),
    "same prompt, other answer": Case((chat("it", said("One?", "Two.")), chat("other", said("One?", "2"))), {}),
    "both ids null": Case(
        (chat("it", prompt_id=None), chat("other", prompt_id=None)), {0: ("schema",), 1: ("schema",)}
    ),
    "repeats a row in quarantine": Case(
        (chat("it", USER_LAST), chat("it", FOUR), chat("other", FOUR, prompt_id="id of it")),
        {0: ("ending",), 2: ("duplicate_id", "duplicate_conversation")},
    ),
    "repeats a repetition": Case(
        (chat("it"), chat("other", prompt_id="id of it"), chat("other")), {1: ("duplicate_id",)}
    ),
    "bad and repeated": Case((chat("it", FOUR), chat("it", FOUR, prompt="else")), {1: ("prompt_mismatch",)}),
    "id in test": Case((chat("it", prompt_id=LEAKED["prompt_id"]),), {0: ("leaked_id",)}, unseen=(LEAKED,)),
    "id in test, gen": Case(
        (chat("it", prompt_id=LEAKED["prompt_id"]),), {0: ("leaked_id",)}, "train_gen", unseen=(LEAKED,)
    ),
    "ids null in both": Case(
        (chat("it", prompt_id=None),), {0: ("schema",)}, unseen=(chat("the leak", prompt_id=None),)
    ),
    "messages null in test": Case((chat("it", None),), {0: ("schema",)}, unseen=(chat("the leak", None),)),
    "row in test": Case((LEAKED,), {0: ("leaked_id", "leaked_text")}, unseen=(chat("other"), LEAKED)),
    "question in test, twice": Case(
        (chat("it", LEAKED["messages"]), chat("other", LEAKED["messages"])),
        {0: ("leaked_text",), 1: ("leaked_text",)},
        unseen=(LEAKED,),
    ),
    "question in test after a system message": Case(
        (chat("it", [WITH_SYSTEM[0], *LEAKED["messages"]]),), {0: ("leaked_text",)}, unseen=(LEAKED,)
    ),
    "question in test before a system message": Case(
        (chat("it", LEAKED["messages"]),),
        {0: ("leaked_text",)},
        unseen=(chat("the leak", [WITH_SYSTEM[0], *LEAKED["messages"]]),),
    ),
    "question in test is the second here": Case(
        (chat("it", [*said("One?", "Two."), *LEAKED["messages"]]),), {}, unseen=(LEAKED,)
    ),
    "answer in test": Case((chat("it", said("This.", "What's a leak, then?")),), {}, unseen=(LEAKED,)),
    "questions of punctuation": Case(
        (chat("it", said("?! …", "Two.")),), {}, unseen=(chat("the leak", said("...", "Three.")),)
    ),
    "too long": alone(chat("it", said("One?", "long " * 100)), "too_long"),
    "too long by its messages": alone(chat("it", said(*["?"] * 16)), "too_long"),
    "just short enough": alone(chat("it", said("?" * 126, "." * 126))),
    "several": alone(
        chat("it", said("One?", " ", "long " * 100, roles=("user", "user")), prompt="else"),
        "roles",
        "ending",
        "empty_content",
        "prompt_mismatch",
        "too_long",
    ),
    "several, with leaks": Case(
        (chat("it", [*LEAKED["messages"], *LEAKED["messages"][:1]], prompt_id=LEAKED["prompt_id"], prompt=None),),
        {0: ("schema", "ending", "leaked_id", "leaked_text")},
        unseen=(LEAKED,),
    ),
}
CASES |= {
    f"answer of {name}": alone(chat("it", said("One?", blank)), "empty_content")
    for name, blank in {
        "nothing": "",
        "spaces": "   ",
        "newlines and tabs": "\r\n\t\v\f",
        "next line": "\u0085",
        "no-break space": "\u00a0",
        "ogham space": "\u1680",
        "em space": "\u2003",
        "line separators": "\u2028\u2029",
        "ideographic space": " \u3000",
    }.items()
}
CASES |= {
    f"question in test, {name}": Case((chat("it", said(question, "That.")),), {0: ("leaked_text",)}, unseen=(LEAKED,))
    for name, question in {
        "as it is": "What's a leak, then?",
        "other case": "WHAT'S A LEAK, THEN?",
        "other punctuation": "¿What\u2019s a leak \u2013 then…",
        "other white space": " What's\u00a0a\n\n leak,\u3000then?\t",
        "underlined": "__What's a leak, then?__",
    }.items()
}


@pytest.mark.parametrize("name", CASES)
def test_a_row_breaks_exactly_these_rules(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    good = chat("the good one", said("Good?", "Yes."))
    unseen = unseen_sample(tmp_path, case.split, case.unseen) if case.unseen else None
    rows = (*case.rows, good)

    (ref,) = prepare_split(
        raw(tmp_path, case.split, rows),
        EVERYTHING,
        contract("drop", context_tokens=62),
        tmp_path / "out",
        quiet,
        against=unseen,
    )

    assert {row: tuple(rules) for row, rules in quarantined(ref).items()} == case.broken
    assert kept(ref) == [row for number, row in enumerate(rows) if number not in case.broken]
    assert ref.rows_quarantined == len(case.broken)
    rules = applicable_rules(case.split, ContractSection(), against=bool(case.unseen))
    assert ref.violations == {rule: sum(rule in names for names in case.broken.values()) for rule in rules}


RECIPE = "Wash it, cut it into small cubes, and let it simmer in salted water until a fork goes in without force."
REPAIR = "Take off the cover, look for the wire that has come loose, solder it back to its pin, and try the lamp."
MILLER = " went on to become a miller, and I will tell you."

FOUND = {
    "leaked_near_duplicate": ["96% like row 2 of the test sample", "96% like row 3 of the test sample"],
    "contaminated": ["holds 100% of row 2 of benchmark.csv", "holds 80% of row 2 of benchmark.csv"],
    "near_duplicate": ["100% like row 0", "100% like row 0"],
    "personal_data": ["holds EMAIL", "holds PHONE, EMAIL"],
}
"""What is said of each of the rows that break a rule about what they are like."""

BREAKING: dict[str, tuple[Row, ...]] = {
    "schema": (chat("a", prompt=None), chat("b", said("b?", None))),
    # A second one would be its repetition.
    "no_messages": (chat("a", []),),
    "roles": (chat("a", [WITH_SYSTEM[0], *WITH_SYSTEM]), chat("b", [FOUR[0], *FOUR])),
    "ending": (chat("a", USER_LAST), chat("b", FOUR[2:3])),
    "empty_content": (chat("a", said("a?", "")), chat("b", said("b?", "\u3000"))),
    "markup": (chat("a", said("What is <|assistant|>?", "a")), chat("b", said("b?", "It ends.<|im_end|>"))),
    "personal_data": (
        chat("a", said("a?", "Ask ann@example.com.")),
        chat("b", said("Call (212) 555-0143 or ask bob@example.com", "b")),
    ),
    "prompt_mismatch": (chat("a", prompt="else"), chat("b", prompt="")),
    "leaked_id": (chat("a", prompt_id="leaked 1"), chat("b", prompt_id="leaked 2")),
    "leaked_text": (chat("a", said("leak 1", "a")), chat("b", said("leak 2", "b"))),
    "duplicate_id": (chat("a", prompt_id="id of it"), chat("b", prompt_id="id of it")),
    "duplicate_conversation": (chat("it", prompt_id="a"), chat("it", prompt_id="b")),
    "leaked_near_duplicate": (
        chat("a", said("Well, how do I cook it?", RECIPE)),
        chat("b", said("Now, how do I mend it?", REPAIR)),
    ),
    "contaminated": (
        chat("a", said("a?", "a", "How many of the seven brothers went on to become a miller?", "One.")),
        chat(
            "b",
            said(
                "b?",
                "b",
                "Which of these is the capital of Mali?",
                "Tell me which of the many of the seven brothers" + MILLER,
            ),
        ),
    ),
    "near_duplicate": (
        chat("a", said("What is it?", "It -- that is all!")),
        chat("b", said("WHAT is it?", "it that is ALL")),
    ),
    "too_long": (chat("a", said("a?", "long " * 100)), chat("b", said("b?", "long " * 100))),
}
"""For each rule rows that break no other one, if `it` is kept and `TESTED` are in the test sample."""

TESTED = (
    chat("1", said("Leak 1!", "So."), prompt_id="leaked 1"),
    chat("2", said("Leak 2!", "So."), prompt_id="leaked 2"),
    chat("3", said("How do I cook it?", RECIPE)),
    chat("4", said("How do I mend it?", REPAIR)),
)


@dataclass(frozen=True)
class Spoiled:
    """A split with rows that break one rule and no other."""

    rows: tuple[Row, ...]
    bad: tuple[int, ...]
    """Numbers of those that break it."""
    ref: SplitRef
    unseen: SampleRef
    compared: dict[str, Any]
    """What the contract says for all rules to be asked."""

    @property
    def good(self) -> list[Row]:
        return [row for number, row in enumerate(self.rows) if number not in self.bad]


def spoiled(folder: Path, rule: str) -> Spoiled:
    bad = BREAKING[rule]
    rows = (chat("it"), bad[0], chat("c"), *bad[1:], chat("d"))
    unseen = unseen_sample(folder, "train_sft", TESTED)
    benchmark = folder / "benchmark.csv"
    benchmark.write_text("question\nIs it?\nHow many of the seven brothers went on to become a miller?\n")
    compared = {
        "near_duplicate_threshold": 0.6,
        "decontaminate": [benchmark],
        "context_tokens": 62,
        "personal_data": ["EMAIL", "PHONE"],
    }
    return Spoiled(rows, (1, 3)[: len(bad)], raw(folder, "train_sft", rows), unseen, compared)


@pytest.mark.parametrize("rule", RULES)
def test_drop_moves_rows_to_quarantine_with_the_reason(tmp_path: Path, rule: str) -> None:
    split = spoiled(tmp_path, rule)
    section = ContractSection(policies=policies("fail", **{rule: "drop"}), **split.compared)
    (sample,) = prepare_split(split.ref, EVERYTHING, section, tmp_path / "out", quiet, against=split.unseen)

    table = pq.read_table(sample.quarantine)
    assert table.schema.equals(QUARANTINE_SCHEMA)
    assert table.to_pylist() == [
        split.rows[number] | {"row": number, "rules": [rule], "problem": found}
        for number, found in zip(split.bad, FOUND.get(rule, [None, None]), strict=False)
    ]
    assert kept(sample) == pq.read_table(sample.parquet).to_pylist() == split.good
    bad = len(split.bad)
    assert (sample.rows, sample.rows_total, sample.rows_quarantined) == (3, 3 + bad, bad)
    (violation,) = (found for found in read_report(Path(sample.report)).violations if found.rows)
    assert (violation.rule, violation.policy, violation.rows) == (rule, "drop", bad)
    assert tuple(example.row for example in violation.examples) == split.bad
    assert [example.found for example in violation.examples] == FOUND.get(rule, [""] * bad)


@pytest.mark.parametrize("rule", RULES)
def test_warn_keeps_rows_and_counts_them(tmp_path: Path, rule: str) -> None:
    split = spoiled(tmp_path, rule)
    section = ContractSection(policies=policies("fail", **{rule: "warn"}), **split.compared)
    lines: list[str] = []
    (sample,) = prepare_split(split.ref, EVERYTHING, section, tmp_path / "out", lines.append, against=split.unseen)

    assert kept(sample) == pq.read_table(sample.parquet).to_pylist() == list(split.rows)
    assert (sample.rows, sample.rows_quarantined, str(sample.quarantine)) == (len(split.rows), 0, "")
    assert not list((tmp_path / "out").glob("*quarantine*"))
    bad = len(split.bad)
    assert {name: count for name, count in sample.violations.items() if count} == {rule: bad}
    (violation,) = (found for found in read_report(Path(sample.report)).violations if found.rows)
    assert (violation.rule, violation.policy, violation.rows) == (rule, "warn", bad)
    assert f"{rule} {bad}" in lines[-1]


@pytest.mark.parametrize("rule", RULES)
def test_fail_names_rule_count_and_first_row_and_publishes_nothing(tmp_path: Path, rule: str) -> None:
    split = spoiled(tmp_path, rule)
    section = ContractSection(policies=policies("drop", **{rule: "fail"}), **split.compared)
    with pytest.raises(DatasetError) as raised:
        prepare_split(split.ref, EVERYTHING, section, tmp_path / "out", quiet, against=split.unseen)

    message = str(raised.value)
    assert (
        f"Split 'train_sft' of {tmp_path} breaks rules with the policy `fail`: {rule} in {len(split.bad)} " in message
    )
    assert f"the first is row 1, prompt_id {split.rows[1]['prompt_id']}." in message
    assert "Set `contract.policies` to `drop` or `warn`, or mend the source" in message
    assert visible(tmp_path / "out") == []


def test_fail_names_every_rule_that_must_not_be_broken(tmp_path: Path) -> None:
    rows = [chat("it"), chat("a", USER_LAST), chat("b", []), chat("c", []), chat("d", said("d?", ""))]
    section = ContractSection(policies=policies("fail", empty_content="drop"))
    with pytest.raises(DatasetError, match=r"no_messages in 2 rows, ending in 1 rows; the first is row 2, ") as raised:
        prepare_split(raw(tmp_path, "train_sft", rows), EVERYTHING, section, tmp_path / "out", quiet)
    assert "empty_content" not in str(raised.value)


def test_nothing_left_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    rows = [chat("a", USER_LAST), chat("b", []), chat("c", [])]
    ref = raw(tmp_path, "train_sft", rows)
    with pytest.raises(
        DatasetError,
        match=r"None of the 3 sampled rows of 'train_sft' keeps the contract \(no_messages 2, ending 1\)\. The "
        r"commonest problem, of 2, is that there are no messages: row 2 of train_sft-00000-of-00001\.parquet is",
    ):
        prepare_split(ref, EVERYTHING, contract("drop"), tmp_path / "out", quiet)
    assert [path.name for path in visible(tmp_path / "out")] == ["train_sft.rejected.parquet"]


def test_the_default_policies_warn_of_what_can_be_trained_on(tmp_path: Path) -> None:
    for rule in RULES:
        split = spoiled(tmp_path / rule, rule)
        section = ContractSection(**split.compared)
        (sample,) = prepare_split(split.ref, EVERYTHING, section, tmp_path / rule, quiet, against=split.unseen)
        expected = list(split.rows) if rule in ("prompt_mismatch", "too_long") else split.good
        assert kept(sample) == expected
        assert sample.truncated_share == (0.4 if rule == "too_long" else 0)


def test_why_a_converted_row_is_no_conversation_is_in_quarantine(tmp_path: Path) -> None:
    problem = 'conversations[1].from = "narrator": no role of that name'
    rows = [chat("it") | {"problem": None}, {"prompt": '{"conversations": []}', "prompt_id": "x", "problem": problem}]
    path = tmp_path / "converted.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=CONVERTED_SCHEMA), path)
    ref = as_they_lie("train_sft", [path])
    (sample,) = prepare_split(ref, EVERYTHING, ContractSection(), tmp_path / "out", quiet)
    assert kept(sample) == [chat("it")]
    assert pq.read_table(sample.quarantine).to_pylist() == [rows[1] | {"row": 1, "messages": None, "rules": ["schema"]}]


# A plain reading of the contract, row by row, to compare with.

BLANK = "\t\n\v\f\r \u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""<https://www.unicode.org/Public/UCD/latest/ucd/PropList.txt>, White_Space."""


def question_of(row: Row) -> str | None:
    """The user's first message, which may follow one other message."""
    for message in (row["messages"] or [])[:2]:
        if message and message["role"] == "user":
            return message["content"]
    return None


def normalized(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    letters = (letter if letter.isalnum() else " " for letter in folded)
    return " ".join("".join(letters).split())


def opening_of(row: Row) -> str | None:
    """What the user says, until it is long enough to mean something."""
    if question_of(row) is None:
        return None
    said = [message["content"] for message in row["messages"] or () if message and message["role"] == "user"]
    texts = [normalized(text) for text in said if text is not None]
    opening = texts[0]
    for text in texts[1:]:
        if len(opening.encode()) < 16 and text:
            opening = f"{opening}\n{text}" if opening else text
    return opening


def tokens_of(row: Row) -> int:
    messages = row["messages"] or []
    size = sum(len((message["content"] or "").encode()) for message in messages if message)
    return round(0.214 * size) + 4 * len(messages)


def broken_alone(row: Row, split: str, context_tokens: int) -> set[str]:
    messages = row["messages"]
    if messages is None:
        return {"schema"}
    pairs = [(message["content"], message["role"]) if message else (None, None) for message in messages]
    contents, roles = [content for content, _ in pairs], [role for _, role in pairs]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    # After the assistant comes the user, or what a tool says, and then more of that or the assistant.
    follows = {"user": ("assistant",), "assistant": ("user", "tool"), "tool": ("tool", "assistant")}
    in_turn = talk[:1] == ["user"] and all(
        role in follows.get(before or "", ()) for before, role in itertools.pairwise(talk)
    )
    question = question_of(row)
    verdicts = {
        "schema": None in (row["prompt"], row["prompt_id"], *contents, *roles),
        "no_messages": not messages,
        "roles": bool(messages) and None not in roles and not in_turn,
        "ending": split.endswith("_sft") and roles[-1:] not in ([], ["assistant"], [None]),
        "empty_content": any(content is not None and not content.strip(BLANK) for content in contents),
        "markup": any(content is not None and token in content for content in contents for token in FAMILIES),
        "prompt_mismatch": row["prompt"] is not None and question is not None and row["prompt"] != question,
        "too_long": tokens_of(row) > context_tokens,
    }
    return {rule for rule, broken in verdicts.items() if broken}


def judged(
    rows: Sequence[Row], split: str, section: ContractSection, tested: Sequence[Row] | None
) -> list[tuple[list[str], bool]]:
    """For each row the rules that it breaks, and whether it is kept."""
    strict = {rule for rule in RULES if section.policies.of(rule) != "warn"}
    tested_ids = {row["prompt_id"] for row in tested or ()} - {None}
    tested_questions = {opening_of(row) for row in tested or ()} - {"", None}
    ids: set[str | None] = set()
    conversations: set[str] = set()
    verdicts = []
    for row in rows:
        broken = broken_alone(row, split, section.context_tokens)
        broken |= {"leaked_id"} if row["prompt_id"] in tested_ids else set()
        broken |= {"leaked_text"} if opening_of(row) in tested_questions else set()
        nobody = {"content": None, "role": None}
        conversation = repr([sorted((message or nobody).items()) for message in row["messages"] or ()])
        if not broken & strict:
            broken |= {"duplicate_id"} if row["prompt_id"] in ids else set()
            if row["messages"] is not None and conversation in conversations:
                broken.add("duplicate_conversation")
        is_kept = not broken & strict
        if is_kept:
            ids |= {row["prompt_id"]} - {None}
            conversations |= {conversation} if row["messages"] is not None else set()
        verdicts.append(([rule for rule in RULES if rule in broken], is_kept))
    return verdicts


CONTENTS = (
    "Hi?",
    "hi",
    " HI!",
    "a",
    "b",
    "Ä.",
    "ä",
    "日本",
    "",
    " \u3000",
    "?!",
    "…",
    "twenty-one letters!!!",
    "<|end|>",
    None,
)
ROLES = ("user", "assistant", "system", "tool", "", None, "user\x1fassistant")
ORDERS = (
    ("user", "assistant"),
    ("user", "assistant", "user", "assistant"),
    ("system", "user", "assistant"),
    ("user", "assistant", "user"),
    ("user",),
)


@st.composite
def one_row(draw: st.DrawFn) -> Row:
    """Rows of which many are good and many are alike."""
    if draw(st.integers(0, 2)):
        roles = draw(st.sampled_from(ORDERS))
        messages: Any = [{"content": draw(st.sampled_from(CONTENTS[:8])), "role": role} for role in roles]
    else:
        message = st.fixed_dictionaries({"content": st.sampled_from(CONTENTS), "role": st.sampled_from(ROLES)})
        messages = draw(st.none() | st.lists(st.none() | message, max_size=4))
    row = {"prompt": "", "prompt_id": draw(st.sampled_from([*"abcdefghijkl", None])), "messages": messages}
    return row | {"prompt": question_of(row) if draw(st.integers(0, 4)) else draw(st.sampled_from(CONTENTS))}


FILLING = [chat(f"filling {number}", said(f"Filling {number}?", "Yes.")) for number in range(1000)]


@dataclass(frozen=True)
class Situation:
    """A split that is to be prepared, and how."""

    split: str
    odd: list[Row]
    filled_at: int | None
    tested: list[Row] | None
    sample: SampleSection
    section: ContractSection
    validation: bool
    shards: int
    group: int

    @property
    def rows(self) -> list[Row]:
        """Maybe with so many good ones between the others that they are not all worked on together."""
        place = self.filled_at
        return self.odd if place is None else [*self.odd[:place], *FILLING, *self.odd[place:]]

    def prepare(self, folder: Path) -> tuple[SampleRef, ...]:
        ref = raw(
            folder, self.split, self.rows, min(self.shards, len(self.rows)), max(self.group, len(self.rows) // 40)
        )
        unseen = unseen_sample(folder, self.split, self.tested) if self.tested else None
        return prepare_split(
            ref, self.sample, self.section, folder / "out", quiet, validation=self.validation, against=unseen
        )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    split = draw(st.sampled_from(["train_sft", "train_sft", "test_sft", "train_gen"]))
    odd = draw(st.lists(one_row(), min_size=1, max_size=24))
    policy = st.sampled_from(["drop"] * 7 + ["warn"] * 7 + ["fail"])
    return Situation(
        split,
        odd=odd,
        filled_at=None if draw(st.integers(0, 3)) else draw(st.integers(0, len(odd))),
        tested=draw(st.none() | st.lists(one_row(), min_size=1, max_size=4)) if "train" in split else None,
        sample=SampleSection(
            mode=draw(st.sampled_from(["head", "hash"])),
            percent=draw(st.sampled_from([100, 60])),
            seed=draw(st.integers(0, 3)),
            validation_percent=draw(st.sampled_from([10, 50])),
        ),
        section=ContractSection(
            policies=Policies.model_validate({rule: draw(policy) for rule in RULES}),
            context_tokens=draw(st.integers(16, 24)),
        ),
        validation=split == "train_sft" and draw(st.booleans()),
        shards=draw(st.integers(1, 4)),
        group=draw(st.sampled_from([1, 3, 7, 400, 1000])),
    )


def is_chosen(text: str, percent: float, seed: int) -> bool:
    return xxhash.xxh3_64_intdigest(text.encode(), seed) < percent / 100 * 2**64


def is_for_validation(row: Row, sample: SampleSection) -> bool:
    opening = opening_of(row)
    text = opening if opening is not None else row["prompt_id"] or ""
    return is_chosen(f"validation:{text}", sample.validation_percent, sample.seed)


@dataclass(frozen=True)
class Expected:
    """Where the rows of a situation go, by their numbers."""

    broken: dict[int, list[str]]
    """The rules that each sampled row breaks."""
    left_out: dict[int, list[str]]
    samples: dict[str, list[int]]

    @classmethod
    def of(cls, case: Situation) -> "Expected":
        numbers = range(len(case.rows))
        if case.sample.mode == "head":
            numbers = numbers[: round(len(case.rows) * case.sample.percent / 100)]
        else:
            ids = [row["prompt_id"] or "" for row in case.rows]
            numbers = [n for n in numbers if is_chosen(ids[n], case.sample.percent, case.sample.seed)]
        verdicts = judged([case.rows[number] for number in numbers], case.split, case.section, case.tested)
        broken = {number: rules for number, (rules, _) in zip(numbers, verdicts, strict=True)}
        good = [number for number, (_, is_kept) in zip(numbers, verdicts, strict=True) if is_kept]
        apart = {n for n in good if case.validation and is_for_validation(case.rows[n], case.sample)}
        samples = {case.split: [number for number in good if number not in apart]}
        if case.validation:
            samples["validation_sft"] = sorted(apart)
        return cls(broken, {n: rules for n, rules in broken.items() if n not in good}, samples)

    def complaint(self, section: ContractSection) -> str | None:
        """What has to be said where no sample comes of it."""
        if not self.broken:
            return "are none: raise sample.percent"
        forbidden = {
            rule: [number for number, rules in self.broken.items() if rule in rules]
            for rule in RULES
            if section.policies.of(rule) == "fail"
        }
        if any(forbidden.values()):
            counts = ", ".join(f"{rule} in {len(found)} rows" for rule, found in forbidden.items() if found)
            first = next(found[0] for found in forbidden.values() if found)
            return f"{counts}; the first is row {first:,}, "
        if not any(self.samples.values()):
            return "keeps the contract"
        return None if all(self.samples.values()) else "raise sample.percent or change sample.validation_percent"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=situations())
def test_every_row_is_judged_as_a_plain_reading_of_the_contract_does(case: Situation) -> None:
    expected = Expected.of(case)
    with TemporaryDirectory() as folder:
        if complaint := expected.complaint(case.section):
            with pytest.raises(DatasetError) as raised:
                case.prepare(Path(folder))
            assert complaint in str(raised.value)
            # Of rows none of which can be used nothing is published, but they can be read.
            left = [f"{case.split}.rejected.parquet"] if complaint == "keeps the contract" else []
            assert [path.name for path in visible(Path(folder) / "out")] == left
            return
        refs = case.prepare(Path(folder))
        assert quarantined(refs[0]) == expected.left_out
        rules = applicable_rules(case.split, ContractSection(), against=case.tested is not None)
        counts = {rule: sum(rule in broken for broken in expected.broken.values()) for rule in rules}
        report = read_report(Path(refs[0].report))
        assert_nothing_vanished(report, *refs)
        assert report.rows_not_sampled == len(case.rows) - len(expected.broken)
        for ref, (name, numbers) in zip(refs, expected.samples.items(), strict=True):
            assert (ref.split, ref.violations) == (name, counts)
            assert kept(ref) == pq.read_table(ref.parquet).to_pylist() == [whole(case.rows[n]) for n in numbers]
            tokens = [tokens_of(case.rows[number]) for number in numbers]
            assert report.samples[name].tokens == sum(tokens)
            assert ref.truncated_share == sum(n > case.section.context_tokens for n in tokens) / len(tokens)


def whole(row: Row) -> Row:
    """The row as it is kept: a message that is not there has no content and no role."""
    nobody = {"content": None, "role": None}
    return row | {"messages": row["messages"] and [message or nobody for message in row["messages"]]}


def assert_nothing_vanished(report: SplitReport, *refs: SampleRef) -> None:
    assert all((ref.rows_total, ref.rows_quarantined) == (report.rows_total, report.rows_quarantined) for ref in refs)
    assert [ref.rows for ref in refs] == [profile.rows for profile in report.samples.values()]
    assert report.rows_quarantined == len(quarantined(refs[0]))
    assert report.rows_total == report.rows_not_sampled + report.rows_quarantined + sum(ref.rows for ref in refs)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Some thousand rows of a synthetic ultrachat, and what is known about them."""
    directory = tmp_path_factory.mktemp("ultrachat")
    return directory, ultrachat.generate(directory, scale=0.015)["splits"]


def prepared(source: Path, out: Path, section: ContractSection) -> dict[str, tuple[SampleRef, ...]]:
    """All splits, each with its own test split, as the assets do it."""
    dataset = DatasetSection(source="local", path=source)
    refs: dict[str, tuple[SampleRef, ...]] = {}
    for split in ("test_sft", "train_sft", "test_gen", "train_gen"):
        against = refs[split.replace("train_", "test_")][0] if split.startswith("train_") else None
        refs[split] = prepare_split(
            fetch_split(dataset, split, out, quiet),
            EVERYTHING,
            section,
            out / split,
            quiet,
            validation=split == "train_sft",
            against=against,
        )
    return refs


def test_a_synthetic_ultrachat_breaks_exactly_the_rules_that_it_says(
    synthetic: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    source, truth = synthetic
    for split, refs in prepared(source, tmp_path, contract("drop")).items():
        known = truth[split]
        expected: dict[int, list[str]] = {}
        for kind in known["kinds"].values():
            expected |= {row: sorted(kind["rules"], key=RULES.index) for row in kind["rows"] if kind["rules"]}
        assert quarantined(refs[0]) == expected
        assert {rule: refs[0].violations.get(rule, 0) for rule in RULES} == dict.fromkeys(RULES, 0) | known["rules"]
        assert [refs[0].rows_total, refs[0].rows_quarantined] == [known["rows"], len(expected)]
        assert_nothing_vanished(read_report(Path(refs[0].report)), *refs)
    (train, validation) = refs_of_train = prepared(source, tmp_path, contract("drop"))["train_sft"]
    assert [ref.split for ref in refs_of_train] == ["train_sft", "validation_sft"]
    assert {row["prompt_id"] for row in kept(train)}.isdisjoint(row["prompt_id"] for row in kept(validation))
    assert 0.02 < validation.rows / (train.rows + validation.rows) < 0.08


def test_equal_input_gives_equal_bytes(synthetic: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    source, _ = synthetic
    folders = [tmp_path / "one", tmp_path / "two"]
    made = [
        {
            path.relative_to(folder): path.read_bytes()
            for refs in [prepared(source, folder, ContractSection())]
            for split in refs
            for path in visible(folder / split)
        }
        for folder in folders
    ]
    assert made[0] == made[1]
    assert len(made[0]) == 4 * 5 + 2
