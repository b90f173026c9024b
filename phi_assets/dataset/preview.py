"""A look at conversations: a few of them readably, and the numbers that sum them up."""

import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from phi_assets.dataset.schema import COLUMNS, POLARS_SCHEMA
from phi_assets.refs import SampleRef, SplitRef

TOKENS_PER_BYTE = 0.214
"""Measured on a byte-pair encoding of English chat; the total is within a percent or so, a single message is not."""

_CELL_CHARACTERS = 240


def example_conversations(ref: SplitRef | SampleRef, n: int, seed: int) -> list[dict[str, Any]]:
    """`n` rows (all, when there are fewer), in the split's order; the same ones for the same file and seed."""
    wanted = sorted(random.Random(seed).sample(range(ref.rows), min(n, ref.rows)))  # noqa: S311 - a choice, no secret
    rows: list[dict[str, Any]] = []
    first = 0
    for path in _files(ref):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                inside = [index - first for index in wanted if first <= index < first + count]
                if inside:
                    rows += file.read_row_group(group, columns=list(COLUMNS)).take(inside).to_pylist()
                first += count
    return rows


def summary(ref: SplitRef | SampleRef) -> dict[str, int | float]:
    """Numbers of a split or sample, by names that stay the same from run to run.

    `rows`; `bytes` of UTF-8 in all messages; `turns_mean`, messages by the user in a conversation; `characters_mean`
    of a conversation; `estimated_tokens`, from the bytes.
    """
    frame = pl.scan_parquet(
        [str(path) for path in _files(ref)],
        schema=POLARS_SCHEMA,
        extra_columns="ignore",
        cast_options=pl.ScanCastOptions(extra_struct_fields="ignore"),
        glob=False,
    )
    content = pl.element().struct.field("content")
    sums = frame.select(
        rows=pl.len(),
        bytes=pl.col("messages").list.eval(content.str.len_bytes()).list.sum().sum(),
        characters=pl.col("messages").list.eval(content.str.len_chars()).list.sum().sum(),
        turns=pl.col("messages").list.eval(pl.element().struct.field("role") == "user").list.sum().sum(),
    )
    totals = sums.collect(engine="streaming").row(0, named=True)
    rows = max(totals["rows"], 1)
    return {
        "rows": totals["rows"],
        "bytes": totals["bytes"],
        "turns_mean": round(totals["turns"] / rows, 3),
        "characters_mean": round(totals["characters"] / rows, 1),
        "estimated_tokens": round(totals["bytes"] * TOKENS_PER_BYTE),
    }


def preview_markdown(conversations: list[dict[str, Any]]) -> str:
    """A Markdown table of conversations: first question, first answer, messages; long texts are cut."""
    import pandas as pd

    records = []
    for row in conversations:
        by_role = {role: [m["content"] for m in row["messages"] if m["role"] == role] for role in ("user", "assistant")}
        records.append(
            {
                "prompt_id": _cell(row["prompt_id"][:12]),
                "question": _cell(next(iter(by_role["user"]), "")),
                "answer": _cell(next(iter(by_role["assistant"]), "")),
                "messages": len(row["messages"]),
            }
        )
    return pd.DataFrame(records).to_markdown(index=False)


def _files(ref: SplitRef | SampleRef) -> list[Path]:
    return [Path(file) for file in ref.files] if isinstance(ref, SplitRef) else [Path(ref.parquet)]


def _cell(text: str | None) -> str:
    flat = " ".join((text or "").split())
    short = flat if len(flat) <= _CELL_CHARACTERS else flat[: _CELL_CHARACTERS - 1] + "…"
    return short.replace("|", "\\|")
