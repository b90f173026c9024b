"""Samples of raw splits, as JSON Lines and Parquet."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.schema import POLARS_SCHEMA
from phi_assets.dataset.write import publish, staging, write_rows
from phi_assets.fingerprint import file_sha256
from phi_assets.recipe import SampleSection
from phi_assets.refs import SampleRef, SplitRef

Log = Callable[[str], None]

_FORMAT = 1
"""Raise it when the same rows would be written with other bytes, so that no older sample counts as this one."""

_KEYS = 1 << 64


def sample_split(ref: SplitRef, sample: SampleSection, destination: Path, log: Log) -> SampleRef:
    """`destination` holds `<split>.jsonl` and `<split>.parquet` with the sampled rows, in the split's order.

    `head` takes the first rows, as many as `datasets` takes for `split[0%:p%]`. `hash` takes each row whose
    `prompt_id`, hashed with the seed, falls into the first p percent of all hashes: which rows depends neither on their
    order nor on the shards, and 5 % are among 20 %.

    A sample that is already there, of the same content and choice and with unchanged bytes, stays as it is. Equal
    input gives equal bytes.

    Raises:
        DatasetError: the raw shards have gone or changed, cannot be read, or the sample would be empty.
    """
    with staging(destination, ref.split) as folder:
        identity = _identity(ref, sample)
        if (known := _existing(destination, ref.split, identity)) is not None:
            log(f"{ref.split}: sample of {known.rows:,} rows is there already, unchanged")
            return known
        _prove_unchanged(ref)
        jsonl, parquet = folder / f"{ref.split}.jsonl", folder / f"{ref.split}.parquet"
        try:
            lines, columns = write_rows(_sampled(ref, sample), jsonl, parquet)
        except pl.exceptions.PolarsError as error:
            raise DatasetError(f"Split {ref.split!r} of {ref.source} cannot be sampled: {error}") from error
        result = SampleRef(
            split=ref.split,
            jsonl=str(destination / jsonl.name),
            parquet=str(destination / parquet.name),
            rows=pq.read_metadata(parquet).num_rows,
            rows_total=ref.rows,
            size_bytes=lines.size,
            sha256=lines.sha256,
        )
        if not result.rows:
            raise DatasetError(
                f"{sample.percent:g} % ({sample.mode}) of the {ref.rows:,} rows of {ref.split!r} are none: "
                "raise sample.percent"
            )
        manifest = folder / _manifest_name(ref.split)
        manifest.write_text(
            json.dumps(
                {**identity, "rows": result.rows, "rows_total": ref.rows}
                | {"jsonl": asdict(lines), "parquet": asdict(columns)},
                indent=1,
            ),
            encoding="utf-8",
        )
        # The manifest last: until it is there, the next run finds other hashes than the older one promises.
        for staged in (jsonl, parquet, manifest):
            publish(staged, destination)
    log(f"{ref.split}: wrote {result.rows:,} of {ref.rows:,} rows, {result.size_bytes / 1e6:,.1f} MB of JSON Lines")
    return result


def head_rows(rows: int, percent: float) -> int:
    """Rows of `split[0%:<percent>%]`, rounded as `datasets` does: to the nearest, exact halves to even.

    <https://huggingface.co/docs/datasets/loading#percent-slicing-and-rounding>
    """
    return round(percent * rows / 100.0)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file, one by one.

    Lines end at the newline character only: `str.splitlines` would also cut at U+2028, which JSON text may hold.

    Raises:
        DatasetError: a line is not JSON; the message names file and line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DatasetError(f"{path}, line {number} is not JSON: {error}") from error


def _sampled(ref: SplitRef, sample: SampleSection) -> pl.LazyFrame:
    rows = pl.scan_parquet(
        list(ref.files),
        schema=POLARS_SCHEMA,
        extra_columns="ignore",
        cast_options=pl.ScanCastOptions(extra_struct_fields="ignore"),
        glob=False,
    )
    if sample.mode == "head":
        return rows.head(head_rows(ref.rows, sample.percent))
    below = round(sample.percent * _KEYS / 100)
    if below >= _KEYS:
        return rows
    return rows.filter(_hash_keys(pl.col("prompt_id"), sample.seed) < pl.lit(below, dtype=pl.UInt64))


def _hash_keys(ids: pl.Expr, seed: int) -> pl.Expr:
    """64 uniform bits of each id; polars' own hash is faster but changes between its versions."""
    key = str(seed).encode()

    def hashed(batch: pl.Series) -> pl.Series:
        if batch.null_count():
            raise DatasetError("prompt_id is missing in some rows: use `mode: head`")
        keys = [int.from_bytes(blake2b(text.encode(), digest_size=8, key=key).digest(), "big") for text in batch]
        return pl.Series(batch.name, keys, dtype=pl.UInt64)

    return ids.map_batches(hashed, return_dtype=pl.UInt64, is_elementwise=True)


def _identity(ref: SplitRef, sample: SampleSection) -> dict[str, Any]:
    """Everything that decides the sample's bytes."""
    choice = sample.model_dump(mode="json", exclude={"seed"} if sample.mode == "head" else set())
    return {"format": _FORMAT, "split": ref.split, "raw_sha256": ref.sha256, "sample": choice}


def _manifest_name(split: str) -> str:
    return f"{split}.sample.json"


def _existing(destination: Path, split: str, identity: dict[str, Any]) -> SampleRef | None:
    try:
        manifest = json.loads((destination / _manifest_name(split)).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if any(manifest.get(key) != value for key, value in identity.items()):
        return None
    paths = {kind: destination / f"{split}.{kind}" for kind in ("jsonl", "parquet")}
    for kind, path in paths.items():
        promised = manifest[kind]
        if not path.is_file() or path.stat().st_size != promised["size"] or file_sha256(path) != promised["sha256"]:
            return None
    return SampleRef(
        split=split,
        jsonl=str(paths["jsonl"]),
        parquet=str(paths["parquet"]),
        rows=manifest["rows"],
        rows_total=manifest["rows_total"],
        size_bytes=manifest["jsonl"]["size"],
        sha256=manifest["jsonl"]["sha256"],
    )


def _prove_unchanged(ref: SplitRef) -> None:
    missing = [file for file in ref.files if not Path(file).is_file()]
    if missing:
        raise DatasetError(f"{missing[0]} has gone since raw/{ref.split} was materialized: materialize that again")
    if sum(Path(file).stat().st_size for file in ref.files) != ref.size_bytes:
        raise DatasetError(
            f"The shards of raw/{ref.split} have changed since it was materialized: materialize it again"
        )
