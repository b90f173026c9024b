"""Texts as sequences of words, and each sequence as a number that is the same on every machine."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

_PART_BYTES = 1 << 18
"""Worked off at once: what is made of them stays in a core's cache."""
_PART_ROWS = 1 << 12

LONGEST_TEXT = 4 << 20
"""Characters of a text that are looked at."""

_LAST_CODE = 0x323AF
"""The last ideograph; beyond it are marks that say how a character is drawn."""
_ALONE = 1 << 31
"""Bit of a character that is a word by itself."""
_MARK = 1 << 30
"""Stands for an accent that is a character of its own: `é` is one character or two."""
_BASE = 0x9E3779B97F4A7C15
_ORDER = 0xD1342543DE82EF95


def mixed(hashes: np.ndarray) -> np.ndarray:
    """The numbers with every bit of each depending on all others; in place.

    <https://prng.di.unimi.it/splitmix64.c>
    """
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes ^= hashes >> np.uint64(shift)
        hashes *= np.uint64(factor)
    hashes ^= hashes >> np.uint64(31)
    return hashes


@dataclass(frozen=True)
class Words:
    """The words of some texts: runs of letters and digits, however they are written."""

    hashes: np.ndarray
    row_of: np.ndarray
    """Which of the texts each word is in."""
    rows: int
    """How many texts there are."""

    def sequences(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """A number for each run of so many words in a text, and which text it is in, in order."""
        count = max(0, len(self.hashes) - length + 1)
        found = np.zeros(count, dtype=np.uint64)
        for place in range(length):
            found *= np.uint64(_ORDER)
            found += self.hashes[place : place + count]
        within = self.row_of[:count] == self.row_of[length - 1 : length - 1 + count]
        return mixed(found[within]), self.row_of[:count][within]


def words_of(texts: pl.Series) -> Iterator[Words]:
    """The words of the texts, some thousands of these at a time, in their order.

    Case, accents, width, punctuation and white space make no difference. In scripts that put no spaces between words,
    such as Chinese, Japanese and Thai, every character is a word. Of a text, the first `LONGEST_TEXT` characters count.
    """
    texts = texts.fill_null("").str.slice(0, LONGEST_TEXT)
    ends = np.cumsum(texts.str.len_bytes().to_numpy(), dtype=np.int64)
    first = 0
    while first < len(texts):
        begun = ends[first - 1] if first else 0
        after = max(first + 1, int(np.searchsorted(ends, begun + _PART_BYTES)))
        part = texts.slice(first, min(after - first, _PART_ROWS))
        yield Words(*_words(part), len(part))
        first += len(part)


def _words(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    codes = np.frombuffer("\n".join(texts).encode("utf-32-le"), dtype=np.uint32)
    folded = _folded().take(codes, mode="clip")
    ends = np.cumsum(texts.str.len_chars().to_numpy().astype(np.int64) + 1)
    if (is_mark := folded == _MARK).any():
        folded = folded[~is_mark]
        ends -= np.cumsum(is_mark)[np.minimum(ends, len(is_mark)) - 1]
    is_word = folded != 0
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    if (alone := folded >= _ALONE).any():
        begins |= alone
        begins[1:] |= is_word[1:] & alone[:-1]
    places = np.flatnonzero(begins)
    powers, inverses = _powers(1 << len(folded).bit_length())
    # What is between words is 0: it adds nothing to the word before it.
    sums = np.append(np.uint64(0), np.cumsum(folded * powers[: len(folded)]))
    hashes = np.diff(sums[np.append(places, len(folded))]) * inverses[places]
    return mixed(hashes), np.searchsorted(ends, places, side="right")


@cache
def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Powers of an odd number and of its inverse, modulo 2^64: a word's hash is the same wherever it stands."""
    powers = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        factors = np.full(count, base, dtype=np.uint64)
        factors[0] = 1
        powers.append(np.multiply.accumulate(factors))
    return powers[0], powers[1]


@cache
def _folded() -> np.ndarray:
    """What each character counts as; 0 where it is no part of a word."""
    table = np.zeros(_LAST_CODE + 2, dtype=np.uint32)
    for code in range(_LAST_CODE + 1):
        character = chr(code)
        match unicodedata.category(character)[0]:
            case "M":
                table[code] = _MARK
            case "L" | "N":
                plain = unicodedata.normalize("NFKD", character.casefold())[0]
                # Korean is written in syllables, of which this would leave the first sound.
                kept = character if unicodedata.name(plain, "").startswith("HANGUL") else plain
                table[code] = ord(kept) | (_ALONE if _is_alone(character) else 0)
    return table


def _is_alone(character: str) -> bool:
    name = unicodedata.name(character, "")
    return name.startswith(("CJK ", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "HALFWIDTH KATAKANA"))
