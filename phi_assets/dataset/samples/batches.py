"""The rows of a raw split, a few megabytes at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.dataset.errors import REPLACE, DatasetError, require_machine
from phi_assets.dataset.files.write import JSON_LINE
from phi_assets.dataset.sources.schema import POLARS_SCHEMA
from phi_assets.refs import DataFile, SplitRef

BATCH_SCHEMA = pl.Schema({"row": pl.Int64, **POLARS_SCHEMA, "problem": pl.String, JSON_LINE: pl.String})
"""`row` counts from 0 over the whole split; `problem` says why a converted row could not become a conversation."""

_BATCH_BYTES = 16 << 20
_BATCH_ROWS = 1000
_WHOLE_ROW_GROUP_BYTES = 32 << 20
"""A row group up to this size is decoded at once; what is larger is read page by page, which takes twice as long."""

_DAMAGE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError, UnicodeDecodeError)
"""What the readers raise for bytes that are not what the format says; polars panics where it does not expect them."""

_FILE_SCHEMA = pl.Schema({name: kind for name, kind in BATCH_SCHEMA.items() if name != "row"})

_WHOLE_MESSAGES = pl.col("messages").list.eval(
    pl.struct(pl.element().struct.field("content"), pl.element().struct.field("role"))
)
"""Messages without further fields. One that is null has two fields that are null instead: where a batch holds null
structs, polars writes some of its JSON Lines wrong, those of other rows too. <https://github.com/pola-rs/polars/issues/18908>
"""


@dataclass(frozen=True)
class Part:
    """Neighbouring row groups of one file of a split."""

    file: DataFile
    groups: tuple[int, ...]
    first_row: int
    """In the split."""
    first_row_in_file: int
    rows: int
    """As many of its rows as are wanted,"""
    held: int
    """of so many."""
    size: int
    """Bytes of the row groups once decompressed."""
    metadata: pq.FileMetaData = field(repr=False)
    """Of the file."""


def read_batches(ref: SplitRef, rows: int) -> Iterator[pl.DataFrame]:
    """The split's first `rows` rows in batches of `BATCH_SCHEMA`, in order, each some megabytes large.

    Raises:
        DatasetError: a shard cannot be read.
    """
    for part in plan_parts(ref, rows):
        yield from read_part(ref, part)


def plan_parts(ref: SplitRef, rows: int) -> Iterator[Part]:
    """Where the split's first `rows` rows lie: parts of some megabytes, or of one row group where that is larger.

    Raises:
        DatasetError: a shard cannot be read.
    """
    first = 0
    for file in ref.files:
        first_in_file = 0
        metadata = _footer(ref, file, first)
        for groups, count, size in _neighbours(metadata):
            if first >= rows:
                return
            yield Part(file, groups, first, first_in_file, min(count, rows - first), count, size, metadata)
            first, first_in_file = first + count, first_in_file + count
    if first < rows:
        raise DatasetError(
            f"The shards of raw_{ref.split} hold {first:,} rows, of which {ref.rows:,} were counted when it was "
            "materialized: materialize it again"
        )


def read_part(ref: SplitRef, part: Part) -> Iterator[pl.DataFrame]:
    """The rows of a part, in one batch, or in several where its only row group is large.

    Raises:
        DatasetError: the shard cannot be read.
    """
    first = part.first_row
    try:
        for batch in _read(part):
            # In one chunk: polars panics when it chooses between fields of structs that lie in several.
            rows = batch.rechunk().with_row_index("row", offset=first).with_columns(_WHOLE_MESSAGES)
            first += rows.height
            del batch
            yield rows.match_to_schema(BATCH_SCHEMA, integer_cast="upcast")
            del rows
    except _DAMAGE as error:
        require_machine(error, part.file)
        raise _unreadable(ref, part.file, first, error) from error
    if first < part.first_row + part.rows:
        raise _unreadable(ref, part.file, first, "rows that its footer lists are not there")


def gathered(batches: Iterable[tuple[int, pl.DataFrame]]) -> Iterator[tuple[int, list[pl.DataFrame]]]:
    """How many rows were read, and parts of them that together are a thousand or more, to be `joined`; the last may be
    fewer.

    `batches` says how many rows each was taken from, and which. A batch costs some milliseconds however few its rows
    are.
    """
    read, waiting = 0, []
    for height, rows in batches:
        read += height
        waiting.append(_alone(rows, height))
        # Whoever is given a batch shall be the last to hold it, else it lies in memory until there is the next one.
        del rows
        if sum(rows.height for rows in waiting) >= _BATCH_ROWS:
            yield read, waiting
            read = 0
    if read:
        yield read, waiting


def joined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """All rows in one chunk; the list is empty afterwards."""
    rows = pl.concat(parts, rechunk=True)
    parts.clear()
    return rows


def _alone(rows: pl.DataFrame, height: int) -> pl.DataFrame:
    """The rows without the memory of the batch of that height that they were taken from."""
    return rows if rows.height == height else pl.DataFrame(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _footer(ref: SplitRef, file: DataFile, first: int) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file.readable())
    except _DAMAGE as error:
        require_machine(error, file)
        raise _unreadable(ref, file, first, error) from error


def _neighbours(metadata: pq.FileMetaData) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Row groups that are read together, with their rows and their size."""
    groups, rows, size = [], 0, 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if groups and size + group.total_byte_size > _BATCH_BYTES:
            yield tuple(groups), rows, size
            groups, rows, size = [], 0, 0
        groups.append(index)
        rows += group.num_rows
        size += group.total_byte_size
    if rows:
        yield tuple(groups), rows, size


def _read(part: Part) -> Iterator[pl.DataFrame]:
    file = part.file.readable()
    if not isinstance(file, Path):
        return _in_pieces(part, file)
    return _whole(part, file) if part.size <= _WHOLE_ROW_GROUP_BYTES else _in_pieces(part, file)


def _whole(part: Part, file: Path) -> Iterator[pl.DataFrame]:
    scan = pl.scan_parquet(
        file,
        schema=_FILE_SCHEMA,
        missing_columns="insert",
        extra_columns="ignore",
        cast_options=pl.ScanCastOptions(extra_struct_fields="ignore"),
        glob=False,
    )
    yield scan.slice(part.first_row_in_file, part.rows).collect()


def _in_pieces(part: Part, source: Path | BinaryIO) -> Iterator[pl.DataFrame]:
    """Page by page on the disk, and row group by row group, each in few requests, where it lies elsewhere."""
    at_once = not isinstance(source, Path) and part.size <= _WHOLE_ROW_GROUP_BYTES
    with pq.ParquetFile(
        source, metadata=part.metadata, pre_buffer=at_once, buffer_size=0 if at_once else 1 << 20
    ) as file:
        columns = [name for name in _FILE_SCHEMA if name in file.schema_arrow.names]
        left = part.rows
        for batch in file.iter_batches(max(1, _BATCH_BYTES * part.held // part.size), _wanted(part), columns):
            rows = pl.DataFrame(batch).head(left).with_columns(_WHOLE_MESSAGES)
            yield rows.match_to_schema(_FILE_SCHEMA, missing_columns="insert", extra_columns="ignore")
            left -= rows.height
            if not left:
                return


def _wanted(part: Part) -> list[int]:
    """The row groups that have its rows."""
    ends = np.cumsum([part.metadata.row_group(group).num_rows for group in part.groups])
    return list(part.groups[: int(np.searchsorted(ends, part.rows)) + 1])


def _unreadable(ref: SplitRef, file: DataFile, row: int, error: BaseException | str) -> DatasetError:
    return DatasetError(
        f"Split {ref.split!r} of {ref.source} cannot be read: {Path(file.name).name} is damaged at or after row "
        f"{row:,} of the split ({error}): {REPLACE}. Then materialize raw_{ref.split} again."
    )
