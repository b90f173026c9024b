"""Files of columns, Parquet and Arrow, as rows of plain values."""

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.dataset.sources.schema import File, read_footer, readable, values_in
from phi_assets.dataset.sources.tables import BATCH_BYTES, BATCH_ROWS, Table, batched, damage, opened

_PIECE_ON_DISK, _PIECE_ELSEWHERE = 1 << 20, 8 << 20
"""Bytes of a column that are read at once. Elsewhere each is a request."""


def open_parquet(path: File, packed: str | None, scratch: Path) -> Table:
    """The rows of a Parquet file; one that is packed as a whole is unpacked into `scratch`.

    Raises:
        DatasetError: the file is damaged, now or when its batches are read.
    """
    unpacked = _unpacked(Path(path), packed, scratch) if packed else path
    metadata = read_footer(unpacked, path)
    schema = metadata.schema.to_arrow_schema()
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    longest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    # A value that is stored once for many rows takes room for each: few at a time, until their size is known.
    few = max(1, min(BATCH_ROWS // 10, BATCH_BYTES // max(longest, 1)))

    def rows(columns: Sequence[str]) -> Iterator[tuple[Any, int]]:
        present = [column for column in columns if column in schema.names]
        # Buffered, a column of a row group is read piece by piece, however long the row group is.
        piece = _PIECE_ON_DISK if isinstance(unpacked, Path) else _PIECE_ELSEWHERE
        with damage(path), pq.ParquetFile(readable(unpacked), metadata=metadata, buffer_size=piece) as file:
            for batch in file.iter_batches(batch_size=few, columns=present):
                yield from _plain_rows(batch)

    def unread(columns: Collection[str]) -> Mapping[str, int]:
        with damage(path):
            return values_in(unpacked, metadata, columns)

    return Table(tuple(schema.names), lambda columns: batched(rows(columns)), metadata.num_rows, schema, unread=unread)


def open_arrow(path: Path) -> Table:
    """The rows of an Arrow file or stream, as `datasets` saves them.

    Raises:
        DatasetError: the file is damaged, now or when its batches are read.
    """
    counted: dict[str, int] = {}

    def reader() -> Any:
        with path.open("rb") as file:
            is_file = file.read(6) == b"ARROW1"
        source = pa.memory_map(str(path))
        return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)

    with damage(path):
        schema = reader().schema

    def rows(columns: Sequence[str]) -> Iterator[tuple[Any, int]]:
        present = [column for column in columns if column in schema.names]
        with damage(path):
            source = reader()
            batches = (
                map(source.get_batch, range(source.num_record_batches)) if hasattr(source, "get_batch") else source
            )
            for batch in batches:
                for column in set(schema.names) - set(present):
                    array = batch.column(column)
                    counted[column] = counted.get(column, 0) + len(array) - array.null_count
                for start in range(0, len(batch), BATCH_ROWS // 10):
                    yield from _plain_rows(batch.select(present).slice(start, BATCH_ROWS // 10))

    def unread(columns: Collection[str]) -> Mapping[str, int]:
        return {column: counted[column] for column in columns if counted.get(column)}

    return Table(tuple(schema.names), lambda columns: batched(rows(columns)), schema=schema, unread=unread)


def _unpacked(path: Path, packed: str, scratch: Path) -> Path:
    """A copy that can be read from its end, where Parquet keeps its table of contents."""
    unpacked = scratch / path.stem
    with damage(path), opened(path, packed) as file, unpacked.open("wb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
    return unpacked


def _plain_rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, int]]:
    size = batch.nbytes // max(len(batch), 1)
    schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in batch.schema])
    if schema.types != batch.schema.types:
        batch = batch.cast(schema)
    sparse = [field.name for field in batch.schema if _structs(field.type) > 1]
    for row in batch.to_pylist(maps_as_pydicts="lossy"):
        for name in sparse:
            row[name] = _without_nulls(row[name])
        yield row, size


def _structs(kind: pa.DataType) -> int:
    """How many structs lie in each other."""
    inner = [field.type for field in kind] if pa.types.is_struct(kind) else [getattr(kind, "value_type", None)]
    return pa.types.is_struct(kind) + max((_structs(each) for each in inner if each is not None), default=0)


def _without_nulls(value: Any) -> Any:
    """What a table holds in the fields that only other rows have says nothing."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type with numbers in place of times: what is out of Python's range, or of an unknown zone, ends nothing."""
    if (
        pa.types.is_timestamp(kind)
        or pa.types.is_date64(kind)
        or pa.types.is_time64(kind)
        or pa.types.is_duration(kind)
    ):
        return pa.int64()
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return pa.int32()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    if is_view or pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _plain(kind.value_type)
        return kind if inner == kind.value_type and not is_view else pa.large_list(inner)
    return kind
