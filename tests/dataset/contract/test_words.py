"""Words of texts: what is one word, however it is written, and that its number is the same everywhere."""

import unicodedata

import numpy as np
import polars as pl
import pytest

from phi_assets.dataset.contract import words
from phi_assets.dataset.contract.words import Words, words_of


def found(*texts: str | None) -> Words:
    """The words of some short texts."""
    (part,) = words_of(pl.Series(texts, dtype=pl.String))
    return part


def of(text: str) -> list[int]:
    return found(text).hashes.tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is a lamp?", "WHAT is -- a (lamp)"),
        ("Déjà vu", unicodedata.normalize("NFD", "Déjà vu")),
        ("DÉJÀ vu", "deja vu"),
        ("\uff26\uff35LL\u3000width", "full width"),
        ("a\u00a0b\u2028c", "a b\nc"),
        ("“so” \u2013 he said…", '"so" - he said...'),
    ],
)
def test_what_is_written_otherwise_is_the_same(one: str, other: str) -> None:
    assert of(one) == of(other)
    assert len(set(of(one))) == len(of(one))


def test_letters_that_are_other_words_are_not_the_same() -> None:
    texts = ["form", "from", "fro m", "forms", "1 2", "12", "각", "간", "ы", "и"]
    assert len({tuple(of(text)) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "count"),
    [("今日は良い天気ですね。", 10), ("สวัสดี", 4), ("한국어 문장", 2), ("x今y", 3), ("", 0), (" …!", 0), ("3.14", 2)],
)
def test_scripts_without_spaces_have_a_word_a_character(text: str, count: int) -> None:
    assert len(of(text)) == count


def test_the_numbers_are_the_same_on_every_machine_and_in_every_version() -> None:
    assert of("Hello, world") == [2163324483675975834, 12200089241319927280]
    assert found("Hello, world").sequences(2)[0].tolist() == [11283185651702681633]


def test_sequences_stay_within_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a b c d", None, "", "c d", "e", "a b c", "f g h" * 50]
    hashes, rows = found(*texts).sequences(3)
    assert rows.tolist() == [0, 0, 5, *[6] * (len(of(texts[-1] or "")) - 2)]
    assert hashes[0] == hashes[2]
    # In parts of any size.
    for size in (1, 8, 20):
        monkeypatch.setattr(words, "_PART_BYTES", size)
        parts = list(words_of(pl.Series(texts)))
        assert sum(part.rows for part in parts) == len(texts)
        assert np.concatenate([part.sequences(3)[0] for part in parts]).tolist() == hashes.tolist()


def test_of_a_text_only_the_beginning_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "LONGEST_TEXT", 7)
    assert of("one two three four") == of("one two")
