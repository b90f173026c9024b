"""Tokenised rows on disk: a Parquet file with the columns ``input_ids`` and ``labels``."""

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
        columns = [[row.input_ids for row in rows], [row.labels for row in rows]]
        self._writer.write_batch(pa.record_batch(columns, schema=SCHEMA))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class TokenRows:
    """The rows of such a file in two flat arrays, so that hundreds of millions of tokens fit in memory."""

    def __init__(self, path: Path) -> None:
        table = parquet.read_table(path, columns=["input_ids", "labels"])
        ids, labels = (table.column(name).combine_chunks() for name in ("input_ids", "labels"))
        self._starts = ids.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        self._ids = ids.values.to_numpy(zero_copy_only=False)
        self._labels = labels.values.to_numpy(zero_copy_only=False)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        start, end = self._starts[index], self._starts[index + 1]
        return {"input_ids": self._ids[start:end], "labels": self._labels[start:end]}

    @property
    def lengths(self) -> list[int]:
        """Tokens per row."""
        return np.diff(self._starts).tolist()
