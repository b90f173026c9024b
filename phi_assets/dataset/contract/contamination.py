"""Texts that no conversation to train on may hold, such as the questions of a benchmark."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from phi_assets.dataset.contract.openings import OPENING_BYTES, normalized
from phi_assets.dataset.contract.words import Words, words_of

SEQUENCE_WORDS = 8
"""Words of the sequences that are looked for: fewer than that, and texts about the same share some by chance."""

_COMMON = 100
"""Sequences that so many texts share are their form and no content."""


class Benchmarks:
    """The texts of files, found in conversations that hold most of one.

    What counts is the share of a text's sequences that a conversation has: a question is short beside the conversation
    that it stands in. A text without a sequence of its own is found only where a conversation begins with it.
    """

    def __init__(self, texts: Mapping[str, pl.Series], threshold: float) -> None:
        self._threshold = threshold
        self._names = tuple(texts)
        self._firsts = np.cumsum([0, *map(len, texts.values())])
        together = pl.concat([pl.Series("text", dtype=pl.String), *(each.alias("text") for each in texts.values())])
        pairs = _sequences(together)
        _, counts = np.unique(pairs[0], return_counts=True)
        telling = pairs[:, np.repeat(counts < _COMMON, counts)]
        self._hashes, self._text_of = telling[0], telling[1].astype(np.int64)
        self._sizes = np.bincount(self._text_of, minlength=len(together))
        short = normalized(together.filter(pl.Series(self._sizes == 0))).drop_nulls()
        self.questions = short.filter(short.str.len_bytes() >= OPENING_BYTES)
        """Texts without sequences, as conversations begin that ask them."""
        self.too_short = int((self._sizes == 0).sum()) - len(self.questions)
        """Texts that are not looked for: they have neither a sequence nor as many words as an opening."""

    def held_by(self, words: Words) -> list[str | None]:
        """For each row which of the texts it holds, in words; None where it holds none."""
        share, text = self._shares(words)
        is_held = share >= self._threshold
        return [self._named(text[row], share[row]) if held else None for row, held in enumerate(is_held.tolist())]

    def _shares(self, words: Words) -> tuple[np.ndarray, np.ndarray]:
        """The largest share of a text that each row holds, and of which."""
        share, text_of = np.zeros(words.rows), np.zeros(words.rows, dtype=np.int64)
        if not len(self._hashes):
            return share, text_of
        hashes, row_of = words.sequences(SEQUENCE_WORDS)
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        hit = self._hashes[place] == hashes
        hits = np.unique(np.stack([row_of[hit].astype(np.uint64), hashes[hit]]), axis=1)
        first, after = (np.searchsorted(self._hashes, hits[1], side=side) for side in ("left", "right"))
        counts = after - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        texts = self._text_of[np.repeat(first, counts) + within]
        pairs, common = np.unique(
            np.repeat(hits[0], counts) * np.uint64(len(self._sizes)) + texts.astype(np.uint64), return_counts=True
        )
        row, text = np.divmod(pairs.astype(np.int64), len(self._sizes))
        shares = common / self._sizes[text]
        # The last to be written is the largest and, of equals, of the first text.
        order = np.lexsort((-text, shares))
        share[row[order]], text_of[row[order]] = shares[order], text[order]
        return share, text_of

    def _named(self, text: int, share: float) -> str:
        file = int(np.searchsorted(self._firsts, text, side="right")) - 1
        return f"holds {share:.0%} of row {text - self._firsts[file] + 1:,} of {self._names[file]}"


def _sequences(texts: pl.Series) -> np.ndarray:
    """Each sequence of each text once: its hash and the text's number, ordered by the first."""
    parts, first = [np.zeros((2, 0), dtype=np.uint64)], 0
    for words in words_of(texts):
        hashes, row_of = words.sequences(SEQUENCE_WORDS)
        parts.append(np.stack([hashes, (row_of + first).astype(np.uint64)]))
        first += words.rows
    return np.unique(np.concatenate(parts, axis=1), axis=1)
