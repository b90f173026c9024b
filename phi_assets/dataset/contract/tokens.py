"""How many tokens a conversation has: counted with a tokenizer where one is at hand, estimated where none is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from phi_assets.dataset.contract.markup import FAMILIES
from phi_assets.dataset.errors import DatasetError
from phi_assets.fingerprint import file_sha256

TOKENS_PER_BYTE = 0.214
"""Measured on a byte-pair encoding of English chat; the total is within a percent or so, a single message is not."""

COUNTED_BYTES = 4 << 20
"""A tokenizer counts about a megabyte a second and core: of a larger split so much is counted, the rest estimated."""

TOKENS_PER_MESSAGE = 4
"""What a chat template puts around a message; for Phi-3 `<|user|>`, a newline, `<|end|>`, a newline.

<https://huggingface.co/microsoft/Phi-3-mini-4k-instruct#chat-format>
"""


@dataclass(frozen=True)
class Calibration:
    """What a tokenizer makes of some rows: by it, the tokens of others are estimated."""

    per_byte: float
    """Tokens of a byte of text, over all of these rows."""
    uncertainty: float
    """Half the width of the 95 % interval of `per_byte`."""
    spread: float
    """So far, relatively, are 95 % of the rows from what `per_byte` says of them, at most."""
    rows: int


def calibration(tokens: Sequence[int], sizes: Sequence[int]) -> Calibration:
    """Of the rows that have these many tokens, markup aside, and these many bytes; there is at least one byte."""
    counted, size = np.asarray(tokens, dtype=float), np.asarray(sizes, dtype=float)
    counted, size = counted[size > 0], size[size > 0]
    ratio = counted.sum() / size.sum()
    # Of a ratio of two sums: Cochran, Sampling Techniques, 6.4.
    error = np.sqrt(((counted - ratio * size) ** 2).sum() / max(len(size) - 1, 1) / len(size)) / size.mean()
    spread = np.sort(np.abs(counted / (ratio * size) - 1))[int(0.95 * (len(size) - 1) + 0.5)]
    return Calibration(float(ratio), float(1.96 * error), float(spread), len(size))


class Room:
    """How much text is counted, of rows that may be longer than the limit: `COUNTED_BYTES`, of the first that fit."""

    def __init__(self) -> None:
        self.doubtful = self.counted = 0
        """Rows that may be too long, and those of them that are counted."""
        self._bytes = 0

    def choose(self, sizes: pl.Series) -> pl.Series:
        """Which rows of a batch, all of them doubtful, are counted; `sizes` are the bytes of their text."""
        sizes = sizes.fill_null(0).cast(pl.Int64)
        chosen = sizes.cum_sum() <= COUNTED_BYTES - self._bytes
        self.doubtful += len(sizes)
        self.counted += int(chosen.sum())
        self._bytes += int(sizes.filter(chosen).sum())
        return chosen


class RoomPerBatch(Room):
    """As much for each batch: whatever a `Room` for all of them chooses is among it, however they are joined."""

    def choose(self, sizes: pl.Series) -> pl.Series:
        """As `Room.choose`, for a batch that is the first."""
        self._bytes = 0
        return super().choose(sizes)


class TokenCounter:
    """Counts tokens with a `tokenizer.json`, or estimates them from the bytes of the text.

    With a `calibration`, rows are estimated by it, and those that may be longer than `limit` are counted, as far as
    there is `room`.
    """

    def __init__(
        self,
        tokenizer: Path | None,
        *,
        calibrated: Calibration | None = None,
        limit: int = 0,
        source: str = "",
        room: Room | None = None,
    ) -> None:
        self.identity = "" if tokenizer is None else _identity(tokenizer)
        """SHA-256 of the tokenizer's file; empty for an estimate."""
        self._tokenizer: Any = None if tokenizer is None else _load(tokenizer, self.identity)
        self._name = source or (tokenizer.name if tokenizer else "")
        self._calibrated, self._limit = calibrated, limit
        self._room = room or Room()
        special = () if self._tokenizer is None else _special_tokens(self._tokenizer)
        self.markup = FAMILIES if not special or source else special
        """Texts that are no text to the tokenizer of the contract; where none is given, to known families of models."""

    @property
    def label(self) -> str:
        """How tokens are counted, for people; of an estimate, by what and how well."""
        if self._tokenizer is None:
            return f"estimated, {TOKENS_PER_BYTE} tokens a byte"
        counted = f"counted with {self._name} {self.identity[:8]}"
        if (found := self._calibrated) is None:
            return counted
        room = self._room
        near = f"; of {room.doubtful:,} rows near the limit, {room.counted:,} {counted}" if room.doubtful else ""
        return (
            f"estimated, {found.per_byte:.3f} ± {found.uncertainty:.3f} tokens a byte as {counted} on {found.rows:,} "
            f"rows, most rows within {found.spread:.0%}{near}"
        )

    def count(self, messages: pl.Series, sizes: pl.Series) -> pl.Series:
        """Tokens of each conversation, markup included.

        Args:
            messages: list<struct<content, role>>.
            sizes: UTF-8 bytes of all content of the same rows.
        """
        lengths = messages.list.len().fill_null(0)
        if self._tokenizer is not None and self._calibrated is None:
            return (self._of_texts(messages, lengths) + _markup(messages)).alias("tokens")
        tokens, is_doubtful = self.estimate(messages, sizes)
        if self._calibrated is not None:
            doubtful = is_doubtful.arg_true()
            chosen = doubtful.filter(self._room.choose(sizes.gather(doubtful)))
            if len(chosen):
                some = messages.gather(chosen)
                tokens = tokens.scatter(chosen, self._of_texts(some, lengths.gather(chosen)) + _markup(some))
        return tokens.alias("tokens")

    def estimate(self, messages: pl.Series, sizes: pl.Series) -> tuple[pl.Series, pl.Series]:
        """What `count` says of rows that there is no room for, and whether each may be longer than the limit or not."""
        found, markup = self._calibrated, _markup(messages)
        text = (sizes.fill_null(0) * (found.per_byte if found else TOKENS_PER_BYTE)).round().cast(pl.Int64)
        spread = 2 * found.spread if found else 0.0
        high, low = text * (1 + spread) + markup, text * (1 - spread) + markup
        return text + markup, (high > self._limit) & (low <= self._limit)

    def _of_texts(self, messages: pl.Series, lengths: pl.Series) -> pl.Series:
        contents = messages.list.explode(empty_as_null=False, keep_nulls=False).struct.field("content").fill_null("")
        found = self._tokenizer.encode_batch_fast(contents.to_list(), add_special_tokens=False)
        counts = [len(encoding.ids) for encoding in found]
        ends = np.cumsum(lengths.to_numpy(), dtype=np.int64)
        sums = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        return pl.Series(sums[ends] - sums[ends - lengths.to_numpy()], dtype=pl.Int64)

    def count_conversations(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[int]:
        """Tokens of each conversation, markup included, as `count` has them."""
        counts = iter(self.count_texts([turn["content"] for turns in conversations for turn in turns]))
        return [sum(next(counts) + TOKENS_PER_MESSAGE for _ in turns) for turns in conversations]

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without markup."""
        if self._tokenizer is None:
            return [round(len(text.encode()) * TOKENS_PER_BYTE) for text in texts]
        return [len(found.ids) for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _markup(messages: pl.Series) -> pl.Series:
    return messages.list.len().fill_null(0).cast(pl.Int64) * TOKENS_PER_MESSAGE


def _identity(path: Path) -> str:
    if not path.is_file():
        raise DatasetError(f"The recipe's contract.tokenizer {path} does not exist: give the path of a tokenizer.json")
    return file_sha256(path)


def _special_tokens(tokenizer: Any) -> tuple[str, ...]:
    added = tokenizer.get_added_tokens_decoder().values()
    return tuple(token.content for token in added if token.special and token.content)


@cache
def _load(path: Path, identity: str) -> Any:
    from tokenizers import Tokenizer

    try:
        # The library raises bare Exception for whatever it cannot read.
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise DatasetError(f"The recipe's contract.tokenizer {path} is not a tokenizer.json: {error}") from error
    # What the file says of training: texts would be cut, or filled up to one length.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
