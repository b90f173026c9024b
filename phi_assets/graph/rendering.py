"""Tables of the UI, and pictures as Markdown with the PNG inside it: Dagster keeps both in its event log."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A table of the given rows, with the columns of the first."""
    columns = [dg.TableColumn(name) for name in (rows[0] if rows else {"": ""})]
    return dg.MetadataValue.table(
        records=[dg.TableRecord({key: str(value) for key, value in row.items()}) for row in rows],
        schema=dg.TableSchema(columns),
    )


def new_figure(rows: int = 1) -> tuple[Any, Any]:
    """A figure and its axes, one below the other where there are several."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2 * rows), layout="constrained")
    return figure, figure.subplots(rows)


def as_markdown(figure: Any, alternative: str) -> str:
    """The figure as one PNG; `alternative` is what it shows, for those who cannot see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return f"![{alternative}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
