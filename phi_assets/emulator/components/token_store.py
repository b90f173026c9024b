"""Tokenised rows on disk: a Parquet file with the columns ``input_ids`` and ``labels``.

Arrow's arrays are made and read by their buffers: its own conversions import pandas wherever it is installed.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from phi_assets.emulator.components.chat_tokens import Encoded

TOKENS = pa.list_(pa.int32())
SCHEMA = pa.schema([("input_ids", TOKENS), ("labels", TOKENS)])


class TokenWriter:
    """Writes batches of encoded rows to one file; the file is complete once closed."""

    def __init__(self, path: Path) -> None:
        self._writer = parquet.ParquetWriter(path, SCHEMA, compression="zstd")

    def write(self, rows: Sequence[Encoded]) -> None:
        """Append rows as one row group."""
        columns = [_lists([row.input_ids for row in rows]), _lists([row.labels for row in rows])]
        self._writer.write_batch(pa.record_batch(columns, schema=SCHEMA))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class TokenRows:
    """The rows of such a file in two flat arrays, so that hundreds of millions of tokens fit in memory."""

    def __init__(self, path: Path) -> None:
        with parquet.ParquetFile(path) as file:
            table = file.read(columns=["input_ids", "labels"])
        ids, labels = (table.column(name).combine_chunks() for name in ("input_ids", "labels"))
        self._starts = np.from_dlpack(ids.offsets).astype(np.int64)
        self._ids, self._labels = np.from_dlpack(ids.values), np.from_dlpack(labels.values)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        start, end = self._starts[index], self._starts[index + 1]
        return {"input_ids": self._ids[start:end], "labels": self._labels[start:end]}

    @property
    def lengths(self) -> list[int]:
        """Tokens per row."""
        return np.diff(self._starts).tolist()


def _lists(rows: Sequence[Sequence[int]]) -> pa.Array:
    values = np.fromiter(itertools.chain.from_iterable(rows), np.int32)
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    flat = pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(values)])
    return pa.Array.from_buffers(TOKENS, len(rows), [None, pa.py_buffer(starts)], children=[flat])
