"""Conversations that people read: everything is there, cut honestly, and nothing that somebody wrote becomes markup."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.dataset.reports.preview import conversations_markdown, shown, violations_markdown
from phi_assets.dataset.reports.report import Conversation, read_report
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.refs import Message
from tests.dataset.prepared import chat_rows, make_conversation, make_violations
from tests.dataset.shards import write_shards

HOSTILE = (
    "<script>alert(1)</script>",
    "[a link](javascript:alert(1)) ![image](https://example.invalid/x.png) <https://example.invalid>",
    "```\nends a fence\n```\n`````` and a longer one\n~~~\n    indented",
    "# heading\n- list\n> quote\n| a | b |\n|---|---|\n***",
    "</code></pre>`` ` ``\\`",
)


def conversation(*contents: str | None, roles: Sequence[str | None] = ("user", "assistant")) -> Conversation:
    """A conversation whose messages hold these texts."""
    return Conversation(
        row=7,
        prompt_id="0123456789abcdef",
        messages=tuple(
            Message(role=roles[number % len(roles)], content=content) for number, content in enumerate(contents)
        ),
    )


def tokens(markdown: str) -> list[Token]:
    """What a CommonMark parser finds, inline tokens included."""
    blocks = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [token for block in blocks for token in (block, *(block.children or ()))]


def fenced(markdown: str) -> list[str]:
    """The contents of all fenced blocks."""
    return [token.content for token in tokens(markdown) if token.type == "fence"]


def test_a_conversation_is_a_heading_and_its_messages_by_role() -> None:
    markdown = conversations_markdown([conversation("How?", "So.\nAnd so.", "Thanks!", "Welcome.")])
    assert fenced(markdown) == ["How?\n", "So.\nAnd so.\n", "Thanks!\n", "Welcome.\n"]
    lines = markdown.splitlines()
    assert lines[0] == "#### Row 7, `0123456789a…`"
    assert [line for line in lines if line.startswith("**")] == ["**user**", "**assistant**"] * 2


def test_all_conversations_are_shown() -> None:
    markdown = conversations_markdown([make_conversation(n, row) for n, row in enumerate(chat_rows(5))])
    assert [line.partition(",")[0] for line in markdown.splitlines() if line.startswith("####")] == [
        f"#### Row {number}" for number in range(5)
    ]


def test_no_conversations_are_said_to_be_none() -> None:
    assert conversations_markdown([]) == "*There are no conversations.*"


@pytest.mark.parametrize("text", HOSTILE)
def test_what_people_wrote_is_shown_as_it_is_and_never_taken_for_markup(text: str) -> None:
    hostile = Conversation(row=1, prompt_id=text, messages=(Message(role=text, content=text),) * 2)
    found = tokens(conversations_markdown([hostile]))
    assert [token.content for token in found if token.type == "fence"] == [f"{text}\n"] * 2
    kinds = {token.type for token in found}
    assert kinds <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "text"),
        *("code_inline", "strong_open", "strong_close", "fence"),
    }
    assert [token.tag for token in found if token.type == "heading_open"] == ["h4"]


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=90),
    st.text(st.sampled_from("`~<>*_#|\\ \n[]()!-a"), max_size=90),
)
def test_no_text_breaks_out_of_its_block(readable: str, marks: str) -> None:
    texts = [text for text in (readable, marks) if text.strip()]
    found = tokens(conversations_markdown([conversation(*texts)]))
    blocks = [token.content for token in found if token.type == "fence"]
    # A long line is broken, and marks that turn the direction are spelled out.
    assert len(blocks) == len(texts)
    for text, block in zip(texts, blocks, strict=True):
        if len(text) < 100 and text.isascii():
            assert block == f"{text}\n"
    assert not {"html_block", "html_inline", "link_open", "image"} & {token.type for token in found}


def test_what_cannot_be_seen_is_made_visible() -> None:
    markdown = conversations_markdown([conversation("right\u202eleft \x1b[31mred\x00 line\u2028end\ttab\r\nlone\rcr")])
    assert fenced(markdown) == ["right<U+202E>left ␛[31mred␀ line<U+2028>end\ttab\nlone␍cr\n"]


def test_missing_and_blank_content_and_roles_are_named() -> None:
    markdown = conversations_markdown([conversation(None, " \n", "x", roles=("user", "assistant", None))])
    assert "**user** *no content*" in markdown
    assert "**assistant** *blank, 2 characters*" in markdown
    assert "**no role**" in markdown
    assert "*no messages*" in conversations_markdown([conversation()])


def test_a_long_text_is_cut_and_says_how_much_is_left_out() -> None:
    markdown = conversations_markdown([conversation("short", "0123456789" * 300)])
    assert fenced(markdown)[1].replace("\n", "") == "0123456789" * 100
    assert markdown.endswith("*2,000 characters left out*")


def test_a_text_that_the_report_has_cut_counts_what_it_cut() -> None:
    markdown = conversations_markdown(
        [conversation("x" * 4000 + "… (1,500 more characters)", "y… (1 more characters)")]
    )
    assert "*4,500 characters left out*" in markdown
    assert "*1 character left out*" in markdown
    assert "more characters" not in markdown


def test_a_long_line_is_broken_at_a_space_and_keeps_its_characters() -> None:
    text = " ".join(f"word{number}" for number in range(100))
    lines = fenced(conversations_markdown([conversation(text)]))[0].splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line.endswith(" ") for line in lines[:-1])
    assert "".join(lines) == text


def test_a_long_conversation_keeps_its_last_message() -> None:
    markdown = conversations_markdown([conversation(*(f"message {number}" for number in range(30)))])
    assert fenced(markdown) == [*(f"message {number}\n" for number in range(7)), "message 29\n"]
    assert "*22 messages left out*" in markdown


def test_one_message_more_than_fits_is_shown_rather_than_counted() -> None:
    assert len(fenced(conversations_markdown([conversation(*"abcdefgh")]))) == 8
    assert "left out" not in conversations_markdown([conversation(*"abcdefgh")])
    assert "*1 message left out*" in conversations_markdown([conversation(*"abcdefghi")])


@pytest.mark.parametrize("letter", ["x", "日", "😀", "`"])
def test_the_longest_conversations_stay_within_the_budget(letter: str) -> None:
    huge = [conversation(*[letter * 4000] * 40, roles=(letter * 100,))] * 5
    markdown = conversations_markdown(huge)
    assert len(json.dumps(markdown)) <= 40_000
    assert len([token for token in tokens(markdown) if token.type == "heading_open"]) == 5
    assert "characters left out" in markdown


def violating(letter: str = "x") -> tuple[Any, ...]:
    """Every rule broken, with three examples each."""
    row = {**chat_rows(1)[0], "messages": [{"role": "user", "content": letter * 4000}] * 40}
    return make_violations(
        "train_sft", dict.fromkeys((each.rule for each in make_violations("train_sft", {})), 9), [row] * 3
    )


@pytest.mark.parametrize("letter", ["x", "😀"])
def test_violations_of_every_rule_stay_within_the_budget(letter: str) -> None:
    markdown = violations_markdown(violating(letter))
    assert len(json.dumps(markdown)) <= 40_000
    headings = [line for line in markdown.splitlines() if line.startswith("### ")]
    assert [heading.split(":")[0] for heading in headings] == [f"### {each.rule}" for each in violating()]


def test_only_broken_rules_are_shown_with_what_became_of_the_rows() -> None:
    rows = [{**row, "messages": row["messages"][1:]} for row in chat_rows(5)]
    markdown = violations_markdown(make_violations("train_sft", {"roles": 1_234, "prompt_mismatch": 1}, rows))
    headings = [line for line in markdown.splitlines() if line.startswith("### ")]
    assert headings == [
        "### roles: 1,234 rows, in quarantine",
        "### prompt_mismatch: 1 row, kept, unless another rule drops them",
    ]
    assert markdown.count("#### Row") == 6
    assert fenced(markdown)[0] == "The answer to: Question 0 of chat 0?\n"


def test_no_violations_are_said_to_be_none() -> None:
    assert violations_markdown(make_violations("test_gen", {})) == "*Every sampled conversation keeps every rule.*"


def test_a_short_text_is_one_line() -> None:
    assert shown("a\nb\x00  c", 10) == "a b␀ c"
    assert shown("0123456789", 5) == "0123…"


def test_the_engine_cuts_texts_as_the_preview_expects(tmp_path: Path) -> None:
    """What the report holds of a long message is completed to its real length."""
    rows = chat_rows(1)
    rows[0]["messages"][1]["content"] = "long " * 2000
    write_shards(tmp_path, "test_sft", rows)
    raw = fetch_split(DatasetSection(source="local", path=tmp_path), "test_sft", tmp_path, lambda _: None)
    (ref,) = prepare_split(raw, SampleSection(percent=100), ContractSection(), tmp_path / "out", lambda _: None)
    examples = read_report(Path(ref.report)).samples["test_sft"].examples
    assert "*9,000 characters left out*" in conversations_markdown(examples)
