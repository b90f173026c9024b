"""Writing the rows of one shard that are taken, and putting what was written of all shards together."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.dataset.contract.rules import SOURCE
from phi_assets.dataset.files.write import LINES_BUFFER_BYTES, HashingFile, InOrder, ParquetFile, Written
from phi_assets.dataset.progress import Log
from phi_assets.dataset.samples.batches import plan_parts, read_part
from phi_assets.dataset.samples.mixture import Mixture
from phi_assets.dataset.samples.prepare import summary
from phi_assets.dataset.samples.split_files import (
    QUARANTINE_SCHEMA,
    Prepared,
    SplitFiles,
    finish,
    more_columns,
    quarantine_name,
    sample_names,
)
from phi_assets.dataset.samples.tally import Account
from phi_assets.dataset.sharded.compare import SUMMARY, Summary
from phi_assets.dataset.sharded.request import Plan, Request, Shard
from phi_assets.dataset.sharded.verdicts import FLAGS, load, unpacked
from phi_assets.dataset.sources.schema import ARROW_SCHEMA
from phi_assets.fingerprint import file_sha256

ACCOUNT = "account.npz"
_SIZE = pa.field("size", pa.int64())


def write_shard(folder: Path, shard: Shard, file: Path, decided: Path, out: Path) -> None:
    """`out` holds the shard's part of each of the sample's files, and the counts and portraits of its rows.

    Args:
        folder: of the request.
        decided: what `compare_shards` has written about this shard.

    Raises:
        DatasetError: the shard cannot be read.
    """
    request = Request.read(folder)
    contract = request.bare_contract()
    taken = load(decided)
    out.mkdir(parents=True, exist_ok=True)
    more = (*more_columns(with_lines=True, with_sources=True), _SIZE)
    written = SplitFiles(out, request.split, request.sample, contract, more)
    source = pl.lit(shard.source or None, dtype=pl.String).alias(SOURCE)
    with ExitStack() as stack:
        stack.callback(written.abandon)
        lines, columns = stack.enter_context(InOrder()), stack.enter_context(InOrder())
        for rows in _rows(shard.ref(request.split, file), shard, taken):
            full = rows.with_columns(source, *unpacked(contract.rules)).drop(FLAGS)
            written.write(contract.measure(full), lines, columns)
            del rows, full
    written.close()
    written.account.save(out / ACCOUNT)


def _rows(ref, shard: Shard, taken: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The shard's rows that are taken, with what was decided about each."""
    numbers = taken["row"].to_numpy() - shard.first_row
    for part in plan_parts(ref, shard.rows):
        first, after = numbers.searchsorted([part.first_row, part.first_row + part.rows])
        if first == after:
            continue
        for batch in read_part(ref, part):
            start = int(batch["row"][0])
            low, high = numbers.searchsorted([start, start + batch.height])
            yield batch[numbers[low:high] - start].drop("row").hstack(taken[low:high])
            del batch


def merge_shards(folder: Path, plan: Plan, compared: Path, written: Sequence[Path], out: Path, log: Log) -> Prepared:
    """`out` holds the sample: the same files, with the same bytes, that `prepare_split` writes; and their SHA-256.

    Args:
        folder: of the request.
        compared: what `compare_shards` has written.
        written: what `write_shard` has written of each shard.

    Raises:
        DatasetError: a rule with the policy `fail` is broken, or no row is left.
    """
    request = Request.read(folder)
    said = Summary.model_validate_json((compared / SUMMARY).read_bytes())
    raw = plan.raw(request)
    names = sample_names(request.split, validation=request.validation)
    account = Account(request.bare_contract().rules, names, request.sample.seed)
    for part in written:
        account.add_saved(part / ACCOUNT)
    out.mkdir(parents=True, exist_ok=True)
    more = more_columns(with_lines=plan.with_lines, with_sources=isinstance(raw, Mixture))
    files: dict[str, Written] = {}
    for name in names:
        files[f"{name}.jsonl"] = _joined_lines([part / f"{name}.jsonl" for part in written], out / f"{name}.jsonl")
        files |= _joined_rows(f"{name}.parquet", written, out, pa.schema([*ARROW_SCHEMA, *more]))
    files |= _joined_rows(quarantine_name(request.split), written, out, pa.schema([*QUARANTINE_SCHEMA, *more]))
    prepared = finish(
        raw,
        request.sample,
        request.contract,
        account,
        files,
        out,
        out,
        identity=plan.identity,
        token_counter=said.token_counter,
        asked=said.asked,
        shards=plan.rows,
    )
    hashes = {name: file_sha256(out / name) for name in prepared.files}
    (out / hashes_name(request.split)).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    log(summary(prepared.report))
    return prepared


def hashes_name(split: str) -> str:
    """File name of the SHA-256 of each of a prepared split's files, by which refs name them."""
    return f"{split}.hashes.json"


def _joined_lines(parts: Sequence[Path], whole: Path) -> Written:
    with HashingFile(whole, with_sha256=True) as file:
        for part in parts:
            with part.open("rb") as lines:
                while piece := lines.read(LINES_BUFFER_BYTES):
                    file.write(piece)
    return file.written


def _joined_rows(name: str, folders: Sequence[Path], out: Path, schema: pa.Schema) -> dict[str, Written]:
    """The file with the rows of all parts, in the row groups of a file that was written at once."""
    whole = ParquetFile(out / name, schema)
    for part in (folder / name for folder in folders):
        # A shard of which no row is kept has no file.
        if not part.exists():
            continue
        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                rows = pl.DataFrame(file.read_row_group(group))
                whole.write(rows, rows["size"])
    written = whole.close()
    return {name: written} if written else {}
