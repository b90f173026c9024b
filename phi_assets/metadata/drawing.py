"""Pictures as Markdown with the PNG inside it: Dagster shows them, and keeps them in its event log."""

import base64
import io
from typing import Any


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
