"""How many tokens a conversation has: counted with a tokenizer where one is at hand, estimated where none is."""

from collections.abc import Mapping, Sequence
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

TOKENS_PER_MESSAGE = 4
"""What a chat template puts around a message; for Phi-3 `<|user|>`, a newline, `<|end|>`, a newline.

<https://huggingface.co/microsoft/Phi-3-mini-4k-instruct#chat-format>
"""


class TokenCounter:
    """Counts tokens with a `tokenizer.json`, or estimates them from the bytes of the text."""

    def __init__(self, tokenizer: Path | None) -> None:
        self.identity = "" if tokenizer is None else _identity(tokenizer)
        """SHA-256 of the tokenizer's file; empty for an estimate."""
        self._tokenizer = None if tokenizer is None else _load(tokenizer, self.identity)
        self.label = (
            f"estimated, {TOKENS_PER_BYTE} tokens a byte"
            if tokenizer is None
            else f"counted with {tokenizer.name} {self.identity[:8]}"
        )
        """How tokens are counted, for people."""
        self.markup = FAMILIES if self._tokenizer is None else _special_tokens(self._tokenizer)
        """Texts that are no text to the tokenizer; where there is none, those of known families of models."""

    def count(self, messages: pl.Series, sizes: pl.Series) -> pl.Series:
        """Tokens of each conversation, markup included.

        Args:
            messages: list<struct<content, role>>.
            sizes: UTF-8 bytes of all content of the same rows.
        """
        lengths = messages.list.len().fill_null(0)
        if self._tokenizer is None:
            text = (sizes.fill_null(0) * TOKENS_PER_BYTE).round().cast(pl.Int64)
        else:
            contents = (
                messages.list.explode(empty_as_null=False, keep_nulls=False).struct.field("content").fill_null("")
            )
            found = self._tokenizer.encode_batch_fast(contents.to_list(), add_special_tokens=False)
            counts = [len(encoding.ids) for encoding in found]
            ends = np.cumsum(lengths.to_numpy(), dtype=np.int64)
            sums = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
            text = pl.Series(sums[ends] - sums[ends - lengths.to_numpy()], dtype=pl.Int64)
        return (text + lengths.cast(pl.Int64) * TOKENS_PER_MESSAGE).alias("tokens")

    def count_conversations(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[int]:
        """Tokens of each conversation, markup included, as `count` has them."""
        counts = iter(self.count_texts([turn["content"] for turns in conversations for turn in turns]))
        return [sum(next(counts) + TOKENS_PER_MESSAGE for _ in turns) for turns in conversations]

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without markup."""
        if self._tokenizer is None:
            return [round(len(text.encode()) * TOKENS_PER_BYTE) for text in texts]
        return [len(found.ids) for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


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
