"""Files that are there whole or not at all, hashed while they are written."""

import hashlib
import io
import os
import shutil
import struct
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute  # else the first cast imports it, while a batch waits
import pyarrow.parquet as pq
import xxhash
from filelock import FileLock

from phi_assets.dataset.files.write_behind import WriteBehind

ROW_GROUP_ROWS = 1000
"""Most rows of a Parquet row group, as on the hub: the unit in which a reader can take a few rows cheaply."""

ROW_GROUP_BYTES = 32 << 20
"""Most text of a row group, so that a thousand rows of megabytes do not have to lie in memory at once."""

JSON_LINE = "json_line"
"""A column of text: the whole line of a row that is more than its other columns say; null where they say everything."""

_WAITING_BATCHES = 1

LINES_BUFFER_BYTES = 1 << 20
"""Lines are gathered to pieces of this size, which a core's cache holds while they are hashed and written."""

_VIEW = struct.Struct("<i4sii")
"""Of a text in Arrow's memory: its size, its beginning, the buffer it lies in, and where it starts there."""
_LONGEST_INLINE = 12
"""Bytes of a text that lies in the view itself,"""
_INLINE_START = 4
"""from there on."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    size: int
    checksum: str
    """xxh3-128: tells damage, five times faster than a cryptographic hash."""
    sha256: str
    """Identity of the content; empty where nobody asked for it."""


class HashingFile(io.RawIOBase):
    """A new binary file that knows its size and hashes, so that gigabytes need not be read back."""

    def __init__(self, path: Path, *, with_sha256: bool = False) -> None:
        super().__init__()
        self._file = path.open("xb")
        self._behind = WriteBehind(self._file)
        self._checksum = xxhash.xxh3_128()
        self._sha256 = hashlib.sha256() if with_sha256 else None
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data, /) -> int:  # type: ignore[override]
        self._checksum.update(data)
        if self._sha256:
            self._sha256.update(data)
        written = self._file.write(data)
        self._size += written
        self._behind.grown_to(self._size)
        return written

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        try:
            self._behind.close()
        finally:
            self._file.close()
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def written(self) -> Written:
        sha256 = self._sha256.hexdigest() if self._sha256 else ""
        return Written(self._size, self._checksum.hexdigest(), sha256)


def checksum(path: Path) -> str:
    """The `Written.checksum` of a file that lies there already."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


class InOrder:
    """Calls that are made one after the other in a thread of their own, with few of them waiting.

    Leaving the context waits for all of them. The first error is raised by the next `call`, or on leaving.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[Any]] = deque()

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Make the call some time soon; blocks while too many are waiting."""
        while len(self._waiting) >= _WAITING_BATCHES:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(function, *arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=error is not None)
        if error is None:
            for call in self._waiting:
                call.result()


def json_lines(rows: pl.DataFrame) -> list[memoryview | bytes]:
    """The rows as JSON Lines: pieces of text and the newlines between them, which lie where polars has made them.

    A row with a text in the column `JSON_LINE` is that text.

    `DataFrame.write_ndjson` to a file of Python's gives the same bytes, but copies them twice more, into fresh memory,
    which costs as much time as making the text.
    <https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout>
    """
    if rows.is_empty():
        return []
    line = pl.struct(pl.exclude(JSON_LINE)).struct.json_encode()
    has_own = JSON_LINE in rows.columns and rows[JSON_LINE].null_count() < rows.height
    lines = rows.select(pl.coalesce(JSON_LINE, line) if has_own else line).to_series().rechunk()
    array = lines.to_arrow(compat_level=pl.CompatLevel.newest())
    views, *texts = [memoryview(buffer) for buffer in array.buffers()[1:]]
    places = _VIEW.iter_unpack(views[array.offset * _VIEW.size :][: len(array) * _VIEW.size])
    pieces: list[memoryview | bytes] = [b"\n"] * (2 * len(array))
    for number, (size, _, buffer, start) in enumerate(places):
        if size > _LONGEST_INLINE:
            pieces[2 * number] = texts[buffer][start : start + size]
        else:
            pieces[2 * number] = views[(array.offset + number) * _VIEW.size + _INLINE_START :][:size]
    return pieces


class JsonLinesFile:
    """A JSON Lines file, UTF-8, one object per row, every line ended by one newline character."""

    def __init__(self, path: Path) -> None:
        self._file = HashingFile(path, with_sha256=True)
        self._buffer = io.BufferedWriter(self._file, LINES_BUFFER_BYTES)

    def write(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        self._buffer.writelines(json_lines(rows))

    def close(self) -> Written:
        self._buffer.close()
        return self._file.written


class ParquetFile:
    """A Parquet file whose bytes depend on its rows alone, however they are cut into batches.

    The file appears with the first rows, so one to which nothing is written does not come to be.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._file: HashingFile | None = None
        self._writer: pq.ParquetWriter | None = None
        self._group: list[pa.Table] = []
        self._rows = 0
        self._size = 0

    def write(self, rows: pl.DataFrame, sizes: pl.Series) -> None:
        """Add rows; `sizes` says how many bytes of text each of them holds."""
        while rows.height:
            total = self._size + np.cumsum(sizes.to_numpy(), dtype=np.int64)
            room = min(ROW_GROUP_ROWS - self._rows, int(np.searchsorted(total, ROW_GROUP_BYTES)) + 1, rows.height)
            # Copied: a few rows of polars keep the whole batch in memory that they were taken from.
            self._group.append(_arrow(rows.head(room), self._schema))
            self._rows += room
            self._size = int(total[room - 1])
            if self._rows == ROW_GROUP_ROWS or self._size >= ROW_GROUP_BYTES:
                self._end_group()
            rows, sizes = rows.slice(room), sizes.slice(room)

    def close(self) -> Written | None:
        """What has been written; None where there were no rows."""
        if self._group:
            self._end_group()
        if self._writer:
            self._writer.close()
        if self._file is None:
            return None
        self._file.close()
        return self._file.written

    def _end_group(self) -> None:
        if self._file is None or self._writer is None:
            self._file = HashingFile(self._path)
            # Snappy makes these files 40 % smaller and takes nine times as long to write them, which is a third of the
            # work of a whole pass. A dictionary of text, which does not repeat, would be built in vain.
            self._writer = pq.ParquetWriter(
                self._file,
                self._schema,
                compression="none",
                use_dictionary=["messages.list.element.role", "rules.list.element"],  # type: ignore[arg-type]
                write_statistics=False,
            )
        # In one piece: pages end where pieces do.
        group = pa.concat_tables(self._group).combine_chunks()
        self._writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        self._group, self._rows, self._size = [], 0, 0


def _arrow(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest()).select(schema.names).cast(schema)


@contextmanager
def staging(destination: Path, name: str) -> Iterator[Path]:
    """An empty folder to write `name`'s files in, held by one process at a time and gone afterwards.

    It lies on the file system of `destination`, so `os.replace` out of it is atomic. What an earlier process left in
    it when it was killed is removed first.
    """
    destination.mkdir(parents=True, exist_ok=True)
    with FileLock(destination / f".{name}.lock"):
        folder = destination / f".{name}.partial"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, destination: Path) -> Path:
    """The staged file lies in `destination`, in place of an older one; readers see either, never a mixture."""
    final = destination / staged.name
    os.replace(staged, final)
    return final
