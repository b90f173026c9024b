"""Files of rows, read batch by batch: Parquet, JSON Lines, one JSON array, CSV, and whatever `datasets` reads."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.disk import is_full
from phi_assets.dataset.files.write import ROW_GROUP_ROWS
from phi_assets.dataset.sources.json_array import array_elements
from phi_assets.dataset.sources.schema import read_footer

BATCH_ROWS = ROW_GROUP_ROWS
BATCH_BYTES = 16 << 20
"""A batch ends with the row that reaches one of them."""

LONGEST_ROW_BYTES = 256 << 20
"""What goes on for longer is taken for damage, before it fills the memory."""

READABLE = "(?P<kind>parquet|jsonl|ndjson|json|csv)(?:[.](?P<packed>gz|zst))?"
"""How the names of files end that are read here, as a regular expression."""

_ENDING = re.compile(rf"[.]{READABLE}$")
_CODECS = {"gz": "gzip", "zst": "zstd"}
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_REPLACE = "replace the file, or delete it, so that it is fetched again"


@dataclass(frozen=True)
class Batch:
    """Rows that follow each other in a file."""

    rows: list[Any]
    size: int
    """Bytes, roughly: of text where the file is text, in memory where it is Parquet."""


@dataclass(frozen=True)
class Table:
    """An open file of rows."""

    columns: tuple[str, ...]
    """Those of the schema or header; of the first batch's rows where a file has neither."""
    batches: Callable[[Sequence[str]], Iterator[Batch]]
    """All rows, once; of Parquet only the named columns, as far as it has them."""
    rows: int | None = None
    """How many there are, where the file says so."""
    schema: pa.Schema | None = None
    """Of Parquet."""
    json_cells: bool = False
    """Whether conversations are JSON text in a cell."""


def container(path: Path) -> str:
    """How the file has to be read, by its name: for example `csv.gz`; `datasets` where it is left to that library."""
    ending = _ENDING.search(path.name)
    return ending[0][1:] if ending else "datasets"


def open_table(path: Path, scratch: Path) -> Table:
    """The file's rows, ready to be read from beginning to end; `scratch` is an empty folder for what that takes.

    A file that ends in `.json` holds one array or, like `.jsonl` and `.ndjson`, one value a line.

    Raises:
        DatasetError: the file is damaged, now or when its batches are read; the message names file and line.
    """
    ending = _ENDING.search(path.name)
    if ending is None:
        return _open_with_datasets(path, scratch)
    codec = _CODECS.get(ending["packed"])
    if ending["kind"] == "parquet":
        return _open_parquet(_unpacked(path, codec, scratch) if codec else path, path)
    if ending["kind"] == "csv":
        return _open_csv(path, codec)
    return _open_json(path, codec, may_be_array=ending["kind"] == "json")


def _open_parquet(path: Path, named: Path) -> Table:
    metadata = read_footer(path, named)
    schema = metadata.schema.to_arrow_schema()
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    longest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    # A value that is stored once for many rows takes room for each: few at a time, until their size is known.
    few = max(1, min(BATCH_ROWS // 10, BATCH_BYTES // max(longest, 1)))

    def rows(columns: Sequence[str]) -> Iterator[tuple[Any, int]]:
        present = [column for column in columns if column in schema.names]
        # Buffered, a column of a row group is read piece by piece, however long the row group is.
        with _damage(named), pq.ParquetFile(path, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=few, columns=present):
                size = batch.nbytes // max(len(batch), 1)
                yield from ((row, size) for row in batch.to_pylist())

    return Table(tuple(schema.names), lambda columns: _batched(rows(columns)), metadata.num_rows, schema)


def _unpacked(path: Path, codec: str, scratch: Path) -> Path:
    """A copy that can be read from its end, where Parquet keeps its table of contents."""
    unpacked = scratch / path.stem
    with _damage(path), pa.input_stream(path, compression=codec) as packed, unpacked.open("wb") as copy:
        shutil.copyfileobj(packed, copy, 1 << 20)
    return unpacked


def _open_json(path: Path, codec: str | None, *, may_be_array: bool) -> Table:
    rows = _json_rows(path, codec, may_be_array=may_be_array)
    batches = _batched(rows)
    first = next(batches, Batch([], 0))
    columns = dict.fromkeys(key for row in first.rows if isinstance(row, dict) for key in row)
    if first.rows and not columns:
        raise DatasetError(
            f"{path} holds no JSON objects, one a line: its first rows are all something else. "
            "Name a file that is one array of objects .json"
        )
    return Table(tuple(columns), lambda _: chain([first], batches))


def _json_rows(path: Path, codec: str | None, *, may_be_array: bool) -> Iterator[tuple[Any, int]]:
    with _damage(path), _opened(path, codec) as file:
        if may_be_array and file.peek(1 << 10).lstrip()[:1] == b"[":
            yield from array_elements(file, path, LONGEST_ROW_BYTES)
        else:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_ROW_BYTES), b""), start=1):
                if len(line) >= LONGEST_ROW_BYTES:
                    raise _too_long(path, number)
                if text := line.strip():
                    yield _parsed(text, path, number), len(line)


def _parsed(line: bytes, path: Path, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        # What orjson refuses may be JSON all the same: half of a surrogate pair, NaN, a very large number.
        try:
            return json.loads(line.decode())
        except UnicodeDecodeError as undecodable:
            raise _not_utf8(path, number, undecodable) from undecodable
        except (json.JSONDecodeError, RecursionError):
            raise DatasetError(
                f"{path}, line {number} is not JSON ({error}): expected one object a line; {_REPLACE}"
            ) from error


def _open_csv(path: Path, codec: str | None) -> Table:
    cells = _csv_cells(path, codec)
    _, header, _ = next(cells, (0, [], 0))
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise DatasetError(f"{path}, line 1 names the column(s) {', '.join(repeated)} more than once: rename one")

    def rows() -> Iterator[tuple[Any, int]]:
        for line, row, size in cells:
            if len(row) != len(header):
                raise DatasetError(
                    f"{path}, the row that ends in line {line} has {len(row)} cells, the header {len(header)}: "
                    "put cells with commas or line breaks between quotation marks"
                )
            yield dict(zip(header, row, strict=True)), size

    return Table(tuple(header), lambda _: _batched(rows()), json_cells=True)


def _csv_cells(path: Path, codec: str | None) -> Iterator[tuple[int, list[str], int]]:
    """Number of the line in which it ends, cells and length of each row that is not blank."""
    # The library's own limit, one for the whole process, is less than a long conversation.
    csv.field_size_limit(LONGEST_ROW_BYTES)
    with _damage(path), _opened(path, codec) as file:
        reader = csv.reader(_lines(file, path), strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row, sum(map(len, row))
        except csv.Error as error:
            raise DatasetError(f"{path}, line {reader.line_num} is not CSV ({error}): {_REPLACE}") from error


def _lines(file: io.BufferedReader, path: Path) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_ROW_BYTES), b""), start=1):
        if len(line) >= LONGEST_ROW_BYTES:
            raise _too_long(path, number)
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise _not_utf8(path, number, error) from error


def _open_with_datasets(path: Path, scratch: Path) -> Table:
    """What the library streams from the file alone, in a folder where it sees no other one."""
    import datasets

    (scratch / "alone").mkdir()
    (scratch / "alone" / path.name).symlink_to(path.resolve())
    with _damage(path, (Exception,)):
        stream = datasets.load_dataset(
            str(scratch / "alone"),
            data_files={"rows": path.name},
            split="rows",
            streaming=True,
            cache_dir=str(scratch / "cache"),
        )

    def rows() -> Iterator[tuple[Any, int]]:
        # Each of the library's readers has errors of its own.
        with _damage(path, (Exception,)):
            yield from ((row, _text_length(row)) for row in stream)

    batches = _batched(rows())
    first = next(batches, Batch([], 0))
    columns = dict.fromkeys(key for row in first.rows for key in row)
    return Table(tuple(columns), lambda _: chain([first], batches))


def _text_length(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_text_length, value.values()))
    return sum(map(_text_length, value)) if isinstance(value, list) else 8


@contextmanager
def _opened(path: Path, codec: str | None) -> Iterator[io.BufferedReader]:
    """The file's text, unpacked, after the mark that some editors put at its beginning."""
    # The library finds out by the name unless told, and the name may end otherwise in a cache.
    with pa.input_stream(path, compression=codec) as stream, io.BufferedReader(stream, 1 << 20) as file:  # type: ignore[type-var]
        if file.peek(len(_BYTE_ORDER_MARK))[: len(_BYTE_ORDER_MARK)] == _BYTE_ORDER_MARK:
            file.read(len(_BYTE_ORDER_MARK))
        yield file


def _batched(rows: Iterable[tuple[Any, int]]) -> Iterator[Batch]:
    batch, size = [], 0
    for row, length in rows:
        batch.append(row)
        size += length
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield Batch(batch, size)
            batch, size = [], 0
    if batch:
        yield Batch(batch, size)


@contextmanager
def _damage(path: Path, kinds: tuple[type[Exception], ...] = _DAMAGE) -> Iterator[None]:
    """What happens inside reads `path`, and nothing else.

    Raises:
        DatasetError: the file cannot be read to its end. A disk that is full passes as what it is.
    """
    try:
        yield
    except DatasetError:
        raise
    except kinds as error:
        if is_full(error):
            raise
        raise DatasetError(f"{path} cannot be read to its end ({type(error).__name__}: {error}): {_REPLACE}") from error


def _not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> DatasetError:
    return DatasetError(f"{path}, line {line} is not UTF-8 ({error.reason}): save the file in that encoding")


def _too_long(path: Path, line: int) -> DatasetError:
    return DatasetError(
        f"{path}, line {line} is longer than {LONGEST_ROW_BYTES >> 20} MB: expected one row a line; {_REPLACE}"
    )
