"""The files that the recipe's `contract.decontaminate` names: what each of their rows asks."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from phi_assets.config.dataset import ContractSection
from phi_assets.dataset.contract.contamination import Benchmarks
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.progress import Log
from phi_assets.dataset.sources.readers import open_table

_COLUMNS = (
    "question",
    "problem",
    "prompt",
    "instruction",
    "query",
    "ctx",
    "turns",
    "messages",
    "conversations",
    "text",
    "input",
)
"""What benchmarks call the column that asks; the first one counts that is there."""


def read_benchmarks(contract: ContractSection, log: Log) -> Benchmarks | None:
    """What is asked in the recipe's files; None where it names none.

    Raises:
        DatasetError: a file cannot be read, or has no column of questions.
    """
    if not contract.decontaminate:
        return None
    texts = {file.name: pl.Series("text", list(_questions(file)), dtype=pl.String) for file in contract.decontaminate}
    found = Benchmarks(texts, contract.decontaminate_threshold)
    counted = ", ".join(f"{len(rows):,} of {name}" for name, rows in texts.items())
    short = f"; {found.too_short:,} of them are too short to be told from chance" if found.too_short else ""
    log(f"Conversations are compared with the questions of {len(texts)} file(s): {counted}{short}")
    return found


def _questions(file: Path) -> Iterator[str]:
    with TemporaryDirectory() as scratch:
        table = open_table(file, Path(scratch))
        column = next((name for name in _COLUMNS if name in table.columns), None)
        if column is None:
            raise DatasetError(
                f"{file}, of the recipe's contract.decontaminate, has the columns {', '.join(table.columns)}: call the "
                f"one with the questions {_COLUMNS[0]!r}; known are {', '.join(_COLUMNS)}"
            )
        for batch in table.batches([column]):
            yield from (_asked(row.get(column)) for row in batch.rows if isinstance(row, Mapping))


def _asked(value: Any) -> str:
    """The text of a cell; of a conversation, what its users say."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        speaker = value.get("role") or value.get("from") or "user"
        return _asked(value.get("content") or value.get("value")) if speaker in ("user", "human") else ""
    return "\n".join(filter(None, map(_asked, value))) if isinstance(value, Sequence) else ""
