"""Tables of the UI, and pictures as Markdown with the PNG inside it: Dagster keeps both in its event log."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

_EDGE, _LETTER, _LINE = 0.03, 0.0125, 0.035
"""Shares of a picture's width: what stays free, a character and an upright line of text."""


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A table of the given rows, with the columns of the first."""
    columns = [dg.TableColumn(name) for name in (rows[0] if rows else {"": ""})]
    return dg.MetadataValue.table(
        records=[dg.TableRecord({key: str(value) for key, value in row.items()}) for row in rows],
        schema=dg.TableSchema(columns),
    )


def new_figure(ticks: int = 5, *, label: bool = True, right: int = 0, title: bool = False) -> tuple[Any, Any]:
    """A figure and its axes, with room for what is written around them.

    `ticks`: characters of the longest tick on the left; `right`: of those on the right, if there are some; `label` and
    `title`: there is one on the left (one on the right comes with the ticks) and above. Matplotlib can find this out by
    itself, which takes as long as all the drawing.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2))
    figure.subplots_adjust(
        left=_EDGE + _LETTER * ticks + (_LINE if label else 0),
        right=1 - (_EDGE + _LETTER * right + _LINE if right else _EDGE),
        bottom=0.17,
        top=0.9 if title or right else 0.96,
    )
    return figure, figure.subplots()


def as_markdown(figure: Any, alternative: str) -> str:
    """The figure as one PNG; `alternative` is what it shows, for those who cannot see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return f"![{alternative}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
