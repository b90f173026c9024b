"""Tables as text: CSV, whatever stands between its cells."""

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from phi_assets.dataset.errors import REPLACE, DatasetError
from phi_assets.dataset.sources.tables import LONGEST_ROW_BYTES, Table, batched, damage, lines, not_utf8, opened

_DELIMITERS = (",", ";", "\t", "|")


def open_csv(path: Path, packed: str | None, *, tabs: bool) -> Table:
    """The rows of a table whose first line is its header.

    Cells stand between tabs, or between what a line `sep=;` at the beginning says, as Excel writes it; otherwise
    between commas or, where the header has none, semicolons, tabs or bars.

    Raises:
        DatasetError: the file is damaged, now or when its batches are read; the message names file and line.
    """
    cells = _cells(path, packed, "\t" if tabs else None)
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

    return Table(tuple(header), lambda _: batched(rows()), json_cells=True)


def _cells(path: Path, packed: str | None, delimiter: str | None) -> Iterator[tuple[int, list[str], int]]:
    """Number of the line in which it ends, cells and length of each row that is not blank."""
    # The library's own limit, one for the whole process, is less than a long conversation.
    csv.field_size_limit(LONGEST_ROW_BYTES)
    with damage(path), opened(path, packed) as file:
        text = _decoded(lines(file, path), path)
        first, skipped = next(text, ""), 0
        said = first.strip().strip('"')
        if said.lower().startswith("sep=") and len(said) == len("sep=;"):
            delimiter, first, skipped = said[-1], next(text, ""), 1
        reader = csv.reader(chain([first], text), delimiter=delimiter or _delimiter(first), strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num + skipped, row, sum(map(len, row))
        except csv.Error as error:
            raise DatasetError(f"{path}, line {reader.line_num + skipped} is not CSV ({error}): {REPLACE}") from error


def _delimiter(header: str) -> str:
    """What the header's names stand between: a comma unless only something else cuts it into pieces."""
    counts = {each: len(next(csv.reader([header], delimiter=each), [])) for each in _DELIMITERS}
    return "," if counts[","] > 1 else max(counts, key=lambda each: counts[each])


def _decoded(file: Iterator[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(path, number, error) from error
