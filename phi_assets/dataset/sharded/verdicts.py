"""What one step tells the next about the rows of a shard: a few bytes a row, as Parquet."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from phi_assets.dataset.contract.near import SIGNATURE, SIGNATURE_SIZE
from phi_assets.dataset.contract.rules import RULES, Contract
from phi_assets.dataset.errors import DatasetError

FLAGS = "flags"
"""Name of the column that says which rules a row breaks, a bit for each of `RULES`."""

FILE = "rows.parquet"


def packed(rows: pl.DataFrame, rules: Iterable[str]) -> pl.Expr:
    """`FLAGS` of rows, from those verdicts of these rules that there are."""
    known = [rule for rule in rules if Contract.flag(rule) in rows.columns]
    bits = [pl.col(Contract.flag(rule)).cast(pl.UInt32) * (1 << RULES.index(rule)) for rule in known]
    return pl.sum_horizontal(pl.lit(0, dtype=pl.UInt32), *bits).cast(pl.UInt32).alias(FLAGS)


def unpacked(rules: Iterable[str]) -> list[pl.Expr]:
    """The verdicts of these rules, one column for each, from `FLAGS`."""
    return [((pl.col(FLAGS) & (1 << RULES.index(rule))) != 0).alias(Contract.flag(rule)) for rule in rules]


def save(rows: pl.DataFrame, folder: Path) -> None:
    """The rows lie in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if SIGNATURE in rows.columns:
        # Numbers of 16 bits take 32 in Parquet.
        signed = np.ascontiguousarray(rows[SIGNATURE].to_numpy(), dtype="<u2")
        kind = pa.binary(signed.shape[1] * signed.itemsize)
        content = pa.FixedSizeBinaryArray.from_buffers(kind, len(signed), [None, pa.py_buffer(signed)])
        rows = rows.with_columns(pl.Series(SIGNATURE, content.cast(pa.binary())))
    rows.write_parquet(folder / FILE, compression="uncompressed")


def load(folder: Path) -> pl.DataFrame:
    """The rows that lie in the folder.

    Raises:
        DatasetError: there are none.
    """
    try:
        rows = pl.read_parquet(folder / FILE, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DatasetError(f"What the step before has written to {folder} cannot be read: {error}") from error
    if SIGNATURE in rows.columns:
        signed = np.frombuffer(b"".join(rows[SIGNATURE].to_list()), dtype="<u2").reshape(-1, SIGNATURE_SIZE)
        rows = rows.with_columns(pl.Series(SIGNATURE, signed))
    return rows
