"""Files of rows, read batch by batch: Parquet, Arrow, JSON in its shapes, CSV, and whatever `datasets` reads."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from phi_assets.dataset.sources.csv_rows import open_csv
from phi_assets.dataset.sources.json_rows import open_json
from phi_assets.dataset.sources.parquet_rows import open_arrow, open_parquet
from phi_assets.dataset.sources.schema import File
from phi_assets.dataset.sources.tables import Batch, Table, batched, damage

READABLE = "(?P<kind>parquet|jsonl|ndjson|json|csv|tsv|arrow)(?:[.](?P<packed>gz|zst|xz|bz2|zip))?"
"""How the names of files end that are read here, as a regular expression for either case."""

_ENDING = re.compile(rf"[.]{READABLE}$", re.IGNORECASE)


def container(path: File) -> str:
    """How the file has to be read, by its name: for example `csv.gz`; `datasets` where it is left to that library."""
    ending = _ENDING.search(path.name)
    return ending[0][1:].lower() if ending else "datasets"


def open_table(file: File, scratch: Path) -> Table:
    """The file's rows, ready to be read from beginning to end; `scratch` is an empty folder for what that takes.

    Of Parquet at a URL no more is read than is asked for; any other file there is fetched.

    Raises:
        DatasetError: the file is damaged, now or when its batches are read; the message names file and line.
    """
    kind, _, ending = container(file).partition(".")
    packed = ending or None
    if kind == "parquet":
        return open_parquet(file, packed, scratch)
    path = Path(file)
    if kind == "arrow" and not packed:
        return open_arrow(path)
    if kind in ("csv", "tsv"):
        return open_csv(path, packed, tabs=kind == "tsv")
    if kind in ("json", "jsonl", "ndjson"):
        return open_json(path, packed)
    return _open_with_datasets(path, scratch)


def _open_with_datasets(path: Path, scratch: Path) -> Table:
    """What the library streams from the file alone, in a folder where it sees no other one."""
    import datasets

    (scratch / "alone").mkdir()
    (scratch / "alone" / path.name).symlink_to(path.resolve())
    with damage(path, (Exception,)):
        stream = datasets.load_dataset(
            str(scratch / "alone"),
            data_files={"rows": path.name},
            split="rows",
            streaming=True,
            cache_dir=str(scratch / "cache"),
        )

    def rows() -> Iterator[tuple[Any, int]]:
        # Each of the library's readers has errors of its own.
        with damage(path, (Exception,)):
            yield from ((_of_archive(row), _text_length(row)) for row in stream)

    batches = batched(rows())
    first = next(batches, Batch([], 0))
    columns = dict.fromkeys(key for row in first.rows for key in row)
    return Table(tuple(columns), lambda _: chain([first], batches))


def _of_archive(row: Any) -> Any:
    """A WebDataset has a file for each row, which is the row where it is JSON."""
    inner = row.get("json") if "__key__" in row else None
    return inner if isinstance(inner, dict) else row


def _text_length(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_text_length, value.values()))
    return sum(map(_text_length, value)) if isinstance(value, list) else 8
