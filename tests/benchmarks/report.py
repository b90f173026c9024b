"""What all benchmarks share: verdicts on targets, how they are shown, and the frame of their commands."""

import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

Log = Callable[[str], None]

_WIDTH = 130


class BenchmarkError(RuntimeError):
    """A contestant failed, or two that must agree do not."""


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured."""

    what: str
    target: str
    measured: float
    """A median, of ratios or of figures."""
    lowest: float
    highest: float
    """Over the rounds."""
    ok: bool


def figures_table(header: str, *figures: str) -> Table:
    """A table of contestants, whose figures stand below each other."""
    return Table(header, *(Column(name, justify="right") for name in figures))


def verdict_table(header: str, verdicts: Sequence[Verdict]) -> Table:
    """One row a target: what was wanted, what was measured, and whether it is met."""
    table = figures_table(header, "wanted", "measured", "over the rounds")
    table.add_column("")
    for verdict in verdicts:
        table.add_row(
            verdict.what,
            verdict.target,
            f"{verdict.measured:.2f}",
            f"{verdict.lowest:.2f} - {verdict.highest:.2f}",
            "ok" if verdict.ok else "missed",
        )
    return table


def machine(*libraries: str) -> dict[str, str]:
    """What the figures were measured on and with."""
    versions = {name: version(name) for name in libraries}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}


@contextmanager
def benchmarking(scratch: Path | None) -> Iterator[tuple[Console, Path]]:
    """A console to report on and an empty folder to write in; a failed benchmark is one message."""
    if scratch:
        scratch.mkdir(parents=True, exist_ok=True)
    console = Console()
    console.width = max(console.width, _WIDTH)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=scratch) as folder:
        try:
            yield console, Path(folder)
        except BenchmarkError as error:
            raise click.ClickException(str(error)) from error


def write_json(file: Path | None, report: Any) -> None:
    """Every run of the report, a dataclass, is in the file."""
    if file:
        file.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
