"""Comparing the rows of all shards: which of them are taken, and which of these repeat others."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel

from phi_assets.config.dataset import SampleSection
from phi_assets.dataset.contract.content import FOUND
from phi_assets.dataset.contract.rules import LEFT_OUT, SOURCE, Contract
from phi_assets.dataset.contract.tokens import Room
from phi_assets.dataset.samples.batches import gathered, joined
from phi_assets.dataset.samples.mixture import TIMES, Drawn, draw, in_order_of
from phi_assets.dataset.sharded.judge import read_calibration
from phi_assets.dataset.sharded.request import Plan, Request
from phi_assets.dataset.sharded.verdicts import load, packed, save, unpacked

SUMMARY = "summary.json"


class Summary(BaseModel):
    """What comparing has told of the sample as a whole."""

    token_counter: str
    """How tokens were counted, for people."""
    asked: dict[str, int | None]
    """Rows that are wanted of each source, where that is a number."""


def compare_shards(
    folder: Path, plan: Plan, judged: Sequence[Path], out: Path, *, calibration: Path | None = None
) -> None:
    """`out` has, below the number of each shard, its rows that are taken, how often, and all rules that each breaks.

    Rows are compared in the raw split's order, and no text is read.

    Raises:
        DatasetError: a source of a mixture has too few rows, or what was judged cannot be read.
    """
    request = Request.read(folder)
    contract = request.bare_contract()
    calibrated, room = read_calibration(calibration), Room()
    rows = [load(each) for each in judged]
    drawn = draw(plan.raw(request), request.sample, lambda name, section: _in_order(plan, rows, name, section))
    decided: dict[int, list[pl.DataFrame]] = {number: [] for number in range(len(plan.shards))}
    for _, parts in gathered(_batches(plan, rows, drawn)):
        frame = joined(parts).with_columns(unpacked(contract.rules))
        frame = _tokens(frame, room) if calibrated else frame
        frame = frame.with_columns((pl.col("tokens") > contract.context_tokens).alias(Contract.flag("too_long")))
        compared = contract.repeated(frame.with_columns(contract.left_out))
        chosen = compared.select(
            "shard", "row", TIMES, packed(compared, contract.rules), LEFT_OUT, pl.col("tokens"), FOUND
        )
        for (number,), part in chosen.partition_by("shard", as_dict=True, include_key=False).items():
            decided[int(number)].append(part)
    nothing = pl.DataFrame(schema={"row": pl.Int64, "tokens": pl.Int64})
    for number, parts in decided.items():
        save(pl.concat(parts) if parts else nothing, out / str(number))
    label = request.counter(folder, calibrated, room).label
    summary = Summary(token_counter=label, asked={name: each.asked for name, each in drawn.items()})
    (out / SUMMARY).write_text(json.dumps(summary.model_dump(mode="json"), indent=1), encoding="utf-8")


def _in_order(plan: Plan, rows: Sequence[pl.DataFrame], name: str, sample: SampleSection) -> np.ndarray:
    found = [part for shard, part in zip(plan.shards, rows, strict=True) if shard.source == name]
    together = pl.concat(
        [pl.DataFrame(schema={"row": pl.UInt32, "key": pl.UInt64}), *(p.select("row", "key") for p in found)]
    )
    return in_order_of(together["row"].cast(pl.Int64).to_numpy(), together["key"].to_numpy(), sample)


def _batches(
    plan: Plan, rows: Sequence[pl.DataFrame], drawn: Mapping[str, Drawn]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """The rows that are taken, cut where the shards were read: in which batches rows are compared may not decide."""
    for number, (shard, judged) in enumerate(zip(plan.shards, rows, strict=True)):
        times = drawn[shard.source].times
        frame = judged.with_columns(
            pl.lit(number, dtype=pl.UInt32).alias("shard"),
            pl.col("row").cast(pl.Int64),
            pl.col("tokens").cast(pl.Int64),
            pl.lit(shard.source or None, dtype=pl.String).alias(SOURCE),
            pl.lit(1, dtype=pl.Int64).alias(TIMES) if times is None else _times(judged["row"], times),
        ).filter(pl.col(TIMES) > 0)
        for _, batch in frame.group_by("batch", maintain_order=True):
            yield batch.height, batch


def _times(rows: pl.Series, times: np.ndarray) -> pl.Series:
    padded = np.append(times, 0)
    return pl.Series(TIMES, padded[np.minimum(rows.to_numpy(), len(times))], dtype=pl.Int64)


def _tokens(frame: pl.DataFrame, room: Room) -> pl.DataFrame:
    """The rows with their tokens: counted where there is room, or none is near the limit, else estimated."""
    near = frame["near_limit"].arg_true()
    chosen = near.filter(room.choose(frame["size"].gather(near)))
    exact = pl.Series([False]).new_from_index(0, frame.height).scatter(chosen, True)
    estimated = pl.col("estimated").cast(pl.Int64)
    return frame.with_columns(tokens=pl.when(exact).then("tokens").otherwise(estimated))
