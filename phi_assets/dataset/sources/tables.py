"""What every reader of a file of rows gives, and what a file looks like that cannot be read to its end."""

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from phi_assets.dataset.errors import REPLACE, DatasetError, require_machine
from phi_assets.dataset.files.disk import is_full
from phi_assets.dataset.files.write import ROW_GROUP_ROWS

BATCH_ROWS = ROW_GROUP_ROWS
BATCH_BYTES = 16 << 20
"""A batch ends with the row that reaches one of them."""

LONGEST_ROW_BYTES = 256 << 20
"""What goes on for longer is taken for damage, before it fills the memory."""

_MAGIC = {
    "gz": b"\x1f\x8b",
    "zst": b"\x28\xb5\x2f\xfd",
    "xz": b"\xfd7zXZ\x00",
    "bz2": b"BZh",
    "zip": b"PK\x03\x04",
}
"""How a file begins that is packed."""
_CODECS = {"gz": "gzip", "zst": "zstd"}
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Batch:
    """Rows that follow each other in a file."""

    rows: list[Any]
    size: int
    """Bytes, roughly: of text where the file is text, in memory where it is columns."""


def _nothing(_: Collection[str]) -> Mapping[str, int]:
    return {}


@dataclass(frozen=True)
class Table:
    """An open file of rows."""

    columns: tuple[str, ...]
    """Those of the schema or header; of the first batch's rows where a file has neither."""
    batches: Callable[[Sequence[str]], Iterator[Batch]]
    """All rows, once; of a file of columns only the named ones, as far as it has them."""
    rows: int | None = None
    """How many there are, where the file says so."""
    schema: pa.Schema | None = None
    """Of a file of columns."""
    json_cells: bool = False
    """Whether conversations are JSON text in a cell, and an empty cell is nothing."""
    unread: Callable[[Collection[str]], Mapping[str, int]] = _nothing
    """How many rows have a value in each of these columns, which the batches did not have; none without a value."""


@contextmanager
def opened(path: Path, packed: str | None) -> Iterator[io.BufferedReader]:
    """The file's text, unpacked, after the mark that some editors put at its beginning."""
    _prove_packing(path, packed)
    with _stream(path, packed) as stream, io.BufferedReader(stream, 1 << 20) as file:
        if file.peek(len(BYTE_ORDER_MARK))[: len(BYTE_ORDER_MARK)] == BYTE_ORDER_MARK:
            file.read(len(BYTE_ORDER_MARK))
        yield file


def _prove_packing(path: Path, packed: str | None) -> None:
    """The file is packed as its name says.

    Raises:
        DatasetError: it is not, and the name is what has to be mended.
    """
    with path.open("rb") as file:
        start = file.read(max(map(len, _MAGIC.values())))
    found = next((ending for ending, magic in _MAGIC.items() if start.startswith(magic)), None)
    if start and found != packed:
        is_so = (
            f"is packed: let its name end with .{found}" if found else f"is not packed: take .{packed} from its name"
        )
        raise DatasetError(f"{path} {is_so}")


@contextmanager
def _stream(path: Path, packed: str | None) -> Iterator[Any]:
    if packed == "xz":
        with lzma.open(path) as stream:
            yield stream
    elif packed == "bz2":
        with bz2.open(path) as stream:
            yield stream
    elif packed == "zip":
        with zipfile.ZipFile(path) as archive:
            names = [each.filename for each in archive.infolist() if not each.is_dir()]
            if len(names) != 1:
                raise DatasetError(
                    f"{path} holds {len(names):,} files ({', '.join(names[:5])}): which of them is the split, nothing "
                    "says. Unpack it, and name each file after its split"
                )
            with archive.open(names[0]) as stream:
                yield stream
    else:
        # The library finds out by the name unless told, and the name may end otherwise in a cache.
        with pa.input_stream(path, compression=_CODECS.get(packed or "")) as stream:
            yield stream


def batched(rows: Iterable[tuple[Any, int]]) -> Iterator[Batch]:
    """Rows, each with its size, in batches."""
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
def damage(path: object, kinds: tuple[type[Exception], ...] = _DAMAGE) -> Iterator[None]:
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
        require_machine(error, path)
        raise DatasetError(f"{path} cannot be read to its end ({type(error).__name__}: {error}): {REPLACE}") from error


def lines(file: io.BufferedReader, path: Path, begun: bytes = b"", number: int = 1) -> Iterator[bytes]:
    """The lines of a file of text; of the first, which has this number, the beginning may have been read.

    Raises:
        DatasetError: one has no end within reason.
    """
    rest = b"" if begun.endswith(b"\n") else file.readline(LONGEST_ROW_BYTES)
    line = begun + rest
    while line:
        if len(line) >= LONGEST_ROW_BYTES:
            raise DatasetError(
                f"{path}, line {number} is longer than {LONGEST_ROW_BYTES >> 20} MB: expected one row a line; {REPLACE}"
            )
        yield line
        line, number = file.readline(LONGEST_ROW_BYTES), number + 1


def not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> DatasetError:
    """What is said of text in another encoding."""
    return DatasetError(f"{path}, line {line} is not UTF-8 ({error.reason}): save the file in that encoding")
