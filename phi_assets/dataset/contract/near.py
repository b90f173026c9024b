"""Conversations that are nearly the same: signatures of their words, and which earlier one has one like it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from phi_assets.dataset.contract.seen import MISSING, occur_twice
from phi_assets.dataset.contract.words import Words, mixed

SEQUENCE_WORDS = 5
"""Words of the sequences by which conversations are compared."""

SIGNATURE = "signature"
"""Name of the column of signatures."""

SIGNATURE_SIZE = 256
_BIN_BITS = 8
_IN_WORD = 4
"""Of 64 bits."""
_EMPTY = 0xFFFF
_NONE = (1 << 40) - 1
_RECALL = 0.98
"""Of two conversations that are just as similar as the threshold asks: how likely they are compared."""
_FIRST_ROOM = 4096
_ROWS_AT_ONCE = 4096
_FEW_PARTS = 32
_FEW_ROWS_AT_ONCE = 256


def said(messages: pl.Series) -> pl.Series:
    """All that is said in each conversation; not what the system is told, which may be the same in all of them."""
    message = pl.element().struct
    content = message.field("content").filter(message.field("role").ne_missing("system"))
    return messages.to_frame("messages").select(pl.col("messages").list.eval(content).list.join("\n")).to_series()


def signatures(words: Words) -> np.ndarray:
    """256 numbers of 16 bits for each text: the least hash of its sequences in each 256th part of all hashes.

    That is one-permutation hashing, which hashes each sequence once: https://arxiv.org/abs/1208.1259
    """
    hashes, row_of = words.sequences(SEQUENCE_WORDS)
    least = np.full(words.rows * SIGNATURE_SIZE, _NONE, dtype=np.uint64)
    place = (row_of << _BIN_BITS) | (hashes >> np.uint64(64 - _BIN_BITS)).astype(np.int64)
    np.minimum.at(least, place, hashes >> np.uint64(16) & np.uint64(_NONE))
    # The lower bits: the upper ones of what is least are small numbers.
    short = (least & np.uint64(_EMPTY)).astype(np.uint16)
    short[(short == _EMPTY) & (least != _NONE)] = 0
    return short.reshape(words.rows, SIGNATURE_SIZE)


def _blocks(rows: int) -> Iterator[tuple[int, int]]:
    for first in range(0, rows, _ROWS_AT_ONCE):
        yield first, min(first + _ROWS_AT_ONCE, rows)


def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The share of sequences that two rows have in common, of all that either has, as signatures tell it.

    Where both have no sequence in a part, that says nothing; the standard error is 0.025 for 0.8, and less for short
    conversations, whose sequences are all in the signature.
    """
    known = (one != _EMPTY) | (other != _EMPTY)
    equal = (one == other) & known
    return equal.sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)


@dataclass(frozen=True)
class Nearest:
    """What of the rows that are known is most like each row of a batch; -1 and 0 where nothing is like it."""

    number: np.ndarray
    similarity: np.ndarray


class Similar:
    """Rows by which later ones are found that are at least so similar.

    Signatures are cut into bands; of the rows with a band in common, the first is compared. So a row is compared with
    a few dozen others at most, however many are alike. In memory are 512 bytes of each row and 12 of each band.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._band = _band_length(threshold)
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []
        self._signatures = np.zeros((0, SIGNATURE_SIZE), dtype=np.uint16)
        self._numbers = np.zeros(0, dtype=np.int64)
        self._rows = 0

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """A number for each band of each signature; `MISSING` of a row that has no sequences."""
        keys = np.empty((len(rows), SIGNATURE_SIZE // self._band), dtype=np.uint64)
        for first, after in _blocks(len(rows)):
            keys[first:after] = self._keys(rows[first:after])
        return keys

    def _keys(self, rows: np.ndarray) -> np.ndarray:
        bands = _filled(rows).view(np.uint64).reshape(len(rows), -1, self._band // _IN_WORD)
        keys = np.broadcast_to(np.arange(bands.shape[1], dtype=np.uint64), bands.shape[:2]).copy()
        for place in range(bands.shape[2]):
            keys ^= bands[:, :, place]
            mixed(keys)
        keys[(rows == _EMPTY).all(axis=1)] = MISSING
        return keys

    def nearest(self, rows: np.ndarray, keys: np.ndarray) -> Nearest:
        """Of the rows that were added, which is most like each of these."""
        owners = np.full(keys.size, -1, dtype=np.int64)
        wanted = keys.reshape(-1)
        order = np.argsort(wanted)
        for run, owner in self._runs:
            place = np.minimum(np.searchsorted(run, wanted[order]), len(run) - 1)
            found = run[place] == wanted[order]
            owners[order[found]] = owner[place[found]]
        row = np.flatnonzero(owners >= 0) // max(keys.shape[1], 1)
        pairs = np.unique(np.stack([row, owners[owners >= 0]]), axis=1)
        found = similarity(rows[pairs[0]], self._signatures[pairs[1]])
        number, best = np.full(len(rows), -1, dtype=np.int64), np.zeros(len(rows))
        # The last to be written is the most similar and, of equals, the first.
        order = np.lexsort((-pairs[1], found))
        order = order[found[order] >= self.threshold]
        number[pairs[0, order]] = self._numbers[pairs[1, order]]
        best[pairs[0, order]] = found[order]
        return Nearest(number, best)

    def add(self, rows: np.ndarray, keys: np.ndarray, numbers: np.ndarray) -> None:
        """These are known from now on, by their numbers; of rows with a band in common, the earlier stands for both."""
        first = self._rows
        self._store(rows, numbers)
        fresh, place = np.unique(keys.reshape(-1), return_index=True)
        is_new = fresh != MISSING
        for run, _ in self._runs:
            is_new &= run[np.minimum(np.searchsorted(run, fresh), len(run) - 1)] != fresh
        run, owner = fresh[is_new], (first + place[is_new] // max(keys.shape[1], 1)).astype(np.int32)
        while len(run) and self._runs and len(self._runs[-1][0]) < 2 * len(run):
            run, owner = (np.concatenate(both) for both in zip(self._runs.pop(), (run, owner), strict=True))
            order = np.argsort(run, kind="stable")
            run, owner = run[order], owner[order]
        if len(run):
            self._runs.append((run, owner))

    def _store(self, rows: np.ndarray, numbers: np.ndarray) -> None:
        after = self._rows + len(rows)
        if after > len(self._numbers):
            room = max(_FIRST_ROOM, after * 3 // 2)
            self._signatures = np.concatenate(
                [self._signatures[: self._rows], np.zeros((room - self._rows, SIGNATURE_SIZE), np.uint16)]
            )
            self._numbers = np.concatenate([self._numbers[: self._rows], np.zeros(room - self._rows, np.int64)])
        self._signatures[self._rows : after] = rows
        self._numbers[self._rows : after] = numbers
        self._rows = after


class NearRows:
    """The rows of a batch, asked one after the other for an earlier one that is kept and nearly the same."""

    def __init__(self, similar: Similar, rows: np.ndarray, numbers: np.ndarray) -> None:
        self._similar = similar
        self._rows = rows
        self._numbers = numbers
        self._keys = similar.keys(self._rows)
        self._before = similar.nearest(self._rows, self._keys)
        twice = occur_twice(self._keys.reshape(-1)).reshape(self._keys.shape)
        self._shared = {int(place): self._keys[place, twice[place]].tolist() for place in np.flatnonzero(twice.any(1))}
        self._first: dict[int, int] = {}
        self.doubtful = (self._before.number >= 0) | twice.any(axis=1)
        """Whether a row may be like an earlier one, or a later one like it."""

    def most_like(self, others: Similar) -> Nearest:
        """What of others, such as the test sample, is most like each row."""
        return others.nearest(self._rows, self._keys)

    def like(self, place: int) -> tuple[int, float] | None:
        """Number and similarity of the earlier row that is most like the one at this place of the batch."""
        best = (int(self._before.number[place]), float(self._before.similarity[place]))
        others = sorted({self._first[key] for key in self._shared.get(place, ()) if key in self._first})
        for other, found in zip(others, self._compared(place, others), strict=True):
            if found >= self._similar.threshold and found > best[1]:
                best = int(self._numbers[other]), float(found)
        return best if best[1] else None

    def _compared(self, place: int, others: Sequence[int]) -> np.ndarray:
        return similarity(self._rows[others], self._rows[place]) if others else np.zeros(0)

    def keep(self, place: int) -> None:
        """The row is kept: later ones of the batch are compared with it."""
        for key in self._shared.get(place, ()):
            self._first.setdefault(key, place)

    def close(self, kept: np.ndarray) -> None:
        """Later batches are compared with those of the rows that are kept."""
        self._similar.add(self._rows[kept], self._keys[kept], self._numbers[kept])


def _band_length(threshold: float) -> int:
    """The longest bands by which rows that are just as similar are found; long ones lead to few others."""
    lengths = (16, 8, 4)
    fitting = [length for length in lengths if 1 - (1 - threshold**length) ** (SIGNATURE_SIZE // length) >= _RECALL]
    return [*fitting, lengths[-1]][0]


def _filled(rows: np.ndarray) -> np.ndarray:
    """The signatures, with what is empty taken from another part, for every part in an order of its own.

    Two rows then agree in a part as often as they have sequences in common: https://arxiv.org/abs/1703.04664
    """
    filled = rows.copy()
    counts = (rows != _EMPTY).sum(axis=1)
    few = np.flatnonzero((counts > 0) & (counts <= _FEW_PARTS))
    for first in range(0, len(few), _FEW_ROWS_AT_ONCE):
        chosen = few[first : first + _FEW_ROWS_AT_ONCE]
        filled[chosen] = _filled_from_few(rows[chosen])
    row, part = np.nonzero((rows == _EMPTY) & (counts > _FEW_PARTS)[:, None])
    donors = _donors()
    for attempt in range(SIGNATURE_SIZE):
        if not len(row):
            break
        value = rows[row, donors[part, attempt]]
        filled[row, part] = value
        still = value == _EMPTY
        row, part = row[still], part[still]
    return filled


def _filled_from_few(rows: np.ndarray) -> np.ndarray:
    """The same for rows most of whose parts are empty: there, to try one part after the other takes too long."""
    row, part = np.nonzero(rows != _EMPTY)
    # Of the parts that are there, the one that comes first in each part's order has the least rank.
    offers = _ranks()[part] << np.uint32(16) | rows[row, part].astype(np.uint32)[:, None]
    least = np.minimum.reduceat(offers, np.flatnonzero(np.diff(row, prepend=-1)), axis=0)
    return np.where(rows == _EMPTY, (least & np.uint32(_EMPTY)).astype(np.uint16), rows)


@cache
def _donors() -> np.ndarray:
    """For each part all parts, in an order of its own."""
    order = mixed(np.arange(1, SIGNATURE_SIZE * SIGNATURE_SIZE + 1, dtype=np.uint64))
    return np.argsort(order.reshape(SIGNATURE_SIZE, SIGNATURE_SIZE), axis=1)


@cache
def _ranks() -> np.ndarray:
    """For each part its place in the orders of all parts."""
    return np.ascontiguousarray(np.argsort(_donors(), axis=1).T.astype(np.uint32))
