"""Tables of text that cut no value, whatever the width."""

import shutil
import sys
from collections.abc import Mapping, Sequence

import click

Row = Mapping[str, str]

_GAP = "  "


def print_table(rows: Sequence[Row], heading: int = 1) -> None:
    """The rows on stdout; see `table_lines`. A pipe has any width."""
    for line in table_lines(rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None, heading):
        click.echo(line)


def table_lines(rows: Sequence[Row], columns: int | None, heading: int = 1) -> list[str]:
    """Aligned lines below a header; where they do not fit the columns, `key  value` lines for each row.

    What is empty or `-` in all rows has no column. Without `columns` the lines are as long as they are. `heading` is
    how many of the first values stand above such lines.
    """
    if not rows:
        return []
    keys = [key for key in rows[0] if any(row[key] not in ("", "-") for row in rows)]
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in keys}
    if columns is None or sum(widths.values()) + len(_GAP) * (len(keys) - 1) <= columns:
        lines = [{key: key for key in keys}, *rows]
        return [_GAP.join(line[key].ljust(widths[key]) for key in keys).rstrip() for line in lines]
    above, below = keys[:heading], keys[heading:]
    label = max(map(len, below), default=0)
    return [
        line
        for row in rows
        for line in (
            " ".join(row[key] for key in above),
            *(f"{_GAP}{key:<{label}}{_GAP}{row[key]}" for key in below if row[key]),
        )
    ]
