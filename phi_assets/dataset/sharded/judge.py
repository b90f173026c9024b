"""Judging the rows of one shard: what each of them is, and whether it is in the test sample."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
from pydantic import TypeAdapter

from phi_assets.dataset.contract.content import FOUND
from phi_assets.dataset.contract.near import SIGNATURE
from phi_assets.dataset.contract.rules import SOURCE, Contract
from phi_assets.dataset.contract.tokens import Calibration, RoomPerBatch, TokenCounter
from phi_assets.dataset.progress import Log
from phi_assets.dataset.samples.batches import read_batches
from phi_assets.dataset.samples.mixture import may_take, ref_of, takes_numbers
from phi_assets.dataset.samples.selection import hash_keys, take_sample
from phi_assets.dataset.samples.token_counting import model_calibration
from phi_assets.dataset.sharded.request import Plan, Request, Shard
from phi_assets.dataset.sharded.verdicts import packed, save
from phi_assets.refs import DataFile

CALIBRATION = "calibration.json"
_CALIBRATION = TypeAdapter(Calibration | None)


def calibrate(folder: Path, plan: Plan, files: Sequence[Path], out: Path) -> None:
    """`out` holds by what the tokens of the sample's rows are estimated, from some of all shards; see `token_counter`.

    Raises:
        DatasetError: a shard cannot be read.
    """
    request = Request.read(folder)
    model = request.own_tokenizer(folder)
    ref = ref_of(plan.raw(request))
    here = ref.model_copy(update={"files": tuple(map(DataFile.at, files)), "sources": ()})
    found = model_calibration(here, request.sample, model) if model else None
    out.mkdir(parents=True, exist_ok=True)
    (out / CALIBRATION).write_bytes(_CALIBRATION.dump_json(found))


def read_calibration(folder: Path | None) -> Calibration | None:
    """What `calibrate` has written; None where tokens are not estimated by other rows."""
    return _CALIBRATION.validate_json((folder / CALIBRATION).read_bytes()) if folder else None


def judge_shard(
    folder: Path, shard: Shard, file: Path, out: Path, *, test: Path | None, calibration: Path | None, log: Log
) -> None:
    """`out` has a row for each row of the shard that may be taken: hashes by which it is compared with others, rules
    that it breaks, and its tokens.

    That is 28 bytes a row, 8 more where the rows of a mixture are numbered, 9 more where tokens near the limit are
    counted, and 512 more where near duplicates are looked for: their signatures.

    Args:
        folder: of the request.
        test: the Parquet file of the test sample, where there is one.
        calibration: folder of what `calibrate` has found.

    Raises:
        DatasetError: the shard cannot be read.
    """
    request = Request.read(folder)
    calibrated = read_calibration(calibration)
    tokens = request.counter(folder, calibrated, RoomPerBatch())
    contract = request.judge(tokens, test, log)
    parts = [*_judged(request, shard, file, contract, tokens if calibrated else None)]
    save(pl.concat(parts), out)


def _judged(
    request: Request, shard: Shard, file: Path, contract: Contract, estimating: TokenCounter | None
) -> Iterator[pl.DataFrame]:
    raw = request.shape(shard)
    section = may_take(raw, shard.source, request.sample)
    source = pl.lit(shard.source or None, dtype=pl.String).alias(SOURCE)
    for number, batch in enumerate(read_batches(shard.ref(request.split, file), shard.rows)):
        # One at a time, never joined: which rows near the limit are counted must not depend on where a shard begins.
        rows = take_sample(batch, section, shard.part).with_columns(pl.col("row") + shard.first_row, source)
        del batch
        judged = contract.leaked(contract.judge(rows))
        yield judged.select(
            pl.lit(number, dtype=pl.UInt32).alias("batch"),
            pl.col("row").cast(pl.UInt32),
            "id_hash",
            "conversation_hash",
            packed(judged, contract.rules),
            pl.col("tokens").cast(pl.UInt32),
            FOUND,
            *([hash_keys(judged["prompt_id"], request.sample.seed).alias("key")] if takes_numbers(raw) else []),
            *(_estimates(judged, estimating) if estimating else []),
            *([SIGNATURE] if SIGNATURE in judged.columns else []),
        )


def _estimates(judged: pl.DataFrame, tokens: TokenCounter) -> list[pl.Series]:
    estimated, is_near = tokens.estimate(judged["messages"], judged["size"])
    sizes = judged["size"].cast(pl.UInt32).alias("size")
    return [estimated.cast(pl.UInt32).alias("estimated"), is_near.alias("near_limit"), sizes]
