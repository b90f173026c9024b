"""Normal answers pass whatever their length; what no model should send is named."""

from pathlib import Path

import pytest

from phi_assets.evaluation.quality import answer_problem, is_empty, is_refusal, repetition

LIST = "\n".join(
    f"{place}. {fruit.capitalize()}: a {fruit} is sweet, and a {fruit} is good for you."
    for place, fruit in enumerate(("apple", "pear", "plum", "cherry", "grape", "fig"), start=1)
)
TABLE = "| fruit | colour |\n|-------|--------|\n| apple | red |\n| pear | green |"
RULE = "Here is what I found.\n\n" + "-" * 60 + "\n\nNothing else."
CODE = "```python\nfor i in range(10):\n    print(i, end=' ')\n```"


@pytest.mark.parametrize(
    "text",
    [
        "An onion is brown or red.",
        "Yes.",
        "42",
        "C",
        "No, no, no!",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream.",
        "Die Zwiebel ist braun oder rot.",
        "洋葱是棕色或红色的。",
        "Лук бывает коричневым или красным.",
        "π is 3.14159265358979323846, and 1/3 is 0.3333333333333333.",
        "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z",
        "👍 Sure!",
        LIST,
        TABLE,
        RULE,
        CODE,
        "I cannot help with that.",
    ],
)
def test_an_answer_has_no_problem(text: str) -> None:
    assert answer_problem(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("!!!", "hardly any letters or digits"),
        ("#@! " * 20 + "no", "hardly any letters or digits"),
        ("\ufffd" * 5 + "ab", "5 of 7 characters cannot be read"),
        ("ab\x00\x01\x02", "3 of 5 characters cannot be read"),
        ("a" * 40, "'a' 40 times in a row"),
        ("the " * 6, "its last 6 words are a loop"),
        ("blah bluh " * 30, "its last 60 words are a loop"),
        ("An onion is brown or red." + " It is a plant." * 10, "its last 40 words are a loop"),
        ("<|assistant|>" * 20, "its last 20 words are a loop"),
        ("asdf" * 25, "its last 100 letters are a loop"),
        ("洋葱" * 25, "its last 50 letters are a loop"),
    ],
)
def test_a_text_that_answers_nothing_is_named(text: str, problem: str) -> None:
    assert answer_problem(text) == problem


def test_a_loop_that_is_cut_off_or_longer_than_a_phrase_is_found() -> None:
    sentence = "the onion that was planted in the garden of the house by the sea is brown or red or white today "
    assert answer_problem((sentence * 4)[:-30]) == "71% of its sequences of 4 words are repeated"
    assert answer_problem("It is so. " + ("round and round we go, " * 12)[:-5]) == "its last 59 words are a loop"


def test_the_data_sets_own_answers_have_no_problem(bundled_answers: list[str]) -> None:
    assert len(bundled_answers) > 100
    assert [text for text in bundled_answers if answer_problem(text)] == []
    assert {text for text in bundled_answers if is_refusal(text)} == {
        "I cannot see the weather from here. Look out of the window!"
    }


@pytest.fixture(scope="module")
def bundled_answers() -> list[str]:
    import polars as pl

    from phi_assets.config.dataset import DatasetSection
    from phi_assets.dataset.sources.local import folder_of

    folder = Path(str(folder_of(DatasetSection(source="bundled"))))
    rows = pl.read_parquet(folder / "data" / "test_sft-*.parquet", columns=["messages"])
    return [
        message["content"]
        for messages in rows["messages"].to_list()
        for message in messages
        if message["role"] == "assistant"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, but I can\u2019t do this.",
        "I am sorry. I cannot assist you.",
        "Sorry, I won't do that.",
        "As an AI language model, I do not have feelings.",
        "I'm just an AI, so I do not eat.",
        "I apologize for the confusion, but I cannot answer.",
        "Unfortunately, I am unable to say.",
        "I don't have access to real-time data.",
    ],
)
def test_a_refusal_is_told_by_its_opening(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "An onion is brown or red.",
        "I can help with that.",
        "Sorry to hear that! Try some rest.",
        "I am an onion.",
        "You cannot eat it raw, I'm afraid.",
        "As an aid to memory, write it down.",
        "",
    ],
)
def test_other_answers_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


def test_repetition_is_the_share_of_sequences_used_before() -> None:
    assert repetition("") == repetition("one two three") == 0
    assert repetition("a b c d e f g h") == 0
    # Sequences: 5, of which "a b c d" occurs twice.
    assert repetition("A b, c d: a b c d") == pytest.approx(0.2)
    assert repetition("no " * 10) == pytest.approx(6 / 7)


def test_empty_is_white_space_only() -> None:
    assert is_empty(" \n")
    assert not is_empty(".")
