"""The files of a split's samples: rows that are kept, rows that are not, and what there is to say of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from phi_assets.config.dataset import VALIDATION_SPLIT, ContractSection, SampleSection
from phi_assets.dataset.contract.content import FOUND
from phi_assets.dataset.contract.rules import LEFT_OUT, SOURCE, Contract
from phi_assets.dataset.files.manifest import manifest_json, manifest_name
from phi_assets.dataset.files.write import HashingFile, InOrder, JsonLinesFile, ParquetFile, Written
from phi_assets.dataset.reports.report import SplitReport
from phi_assets.dataset.samples.mixture import TIMES, Raw, ref_of
from phi_assets.dataset.samples.selection import chosen_by_opening
from phi_assets.dataset.samples.tally import Account
from phi_assets.dataset.samples.usable import prove_usable, rows_in
from phi_assets.dataset.sources.schema import ARROW_SCHEMA, JSON_LINE_FIELD
from phi_assets.refs import DataFile, SampleRef

QUARANTINE_SCHEMA = pa.schema(
    [("row", pa.int64()), *ARROW_SCHEMA, ("rules", pa.list_(pa.string())), ("problem", pa.string())]
)


def more_columns(*, with_lines: bool, with_sources: bool) -> tuple[pa.Field, ...]:
    """What the Parquet files have besides a conversation: the lines of rows that say more, and whose rows they are."""
    lines, sources = (JSON_LINE_FIELD,), (pa.field(SOURCE, pa.string()),)
    return (*(lines if with_lines else ()), *(sources if with_sources else ()))


def quarantine_name(split: str) -> str:
    """File name of the rows that are left out of a split's samples."""
    return f"{split}.quarantine.parquet"


def sample_names(split: str, *, validation: bool) -> tuple[str, ...]:
    """What the samples of a split are called."""
    return (split, VALIDATION_SPLIT) if validation else (split,)


class _SampleFiles:
    """The two files of one sample."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self.name = name
        self._schema = schema
        self.jsonl = JsonLinesFile(folder / f"{name}.jsonl")
        self.parquet = ParquetFile(folder / f"{name}.parquet", schema)

    def write(self, rows: pl.DataFrame, lines: InOrder, columns: InOrder) -> None:
        """Add rows, each as often as it is wanted."""
        lines.call(self.jsonl.write, rows.select(name for name in self._schema.names if name not in (SOURCE, "size")))
        columns.call(self.parquet.write, rows.select(self._schema.names), rows["size"])

    def close(self) -> dict[str, Written]:
        """Both files as they were written."""
        parquet = self.parquet.close()
        files = {f"{self.name}.jsonl": self.jsonl.close()}
        return files | ({f"{self.name}.parquet": parquet} if parquet else {})


class SplitFiles:
    """The files of a split's samples and its quarantine, while they are written."""

    def __init__(
        self, folder: Path, split: str, sample: SampleSection, contract: Contract, more: Iterable[pa.Field]
    ) -> None:
        """`more` are columns of the Parquet files besides those of a conversation."""
        names = sample_names(split, validation=contract.with_validation)
        schema, self._quarantine_schema = (pa.schema([*known, *more]) for known in (ARROW_SCHEMA, QUARANTINE_SCHEMA))
        self.account = Account(contract.rules, names, sample.seed)
        self._split, self._sample, self._contract = split, sample, contract
        self._samples = [_SampleFiles(folder, name, schema) for name in names]
        self._quarantine = ParquetFile(folder / quarantine_name(split), self._quarantine_schema)

    def write(self, rows: pl.DataFrame, lines: InOrder, columns: InOrder) -> None:
        """Add rows with their measures and all verdicts, in the raw split's order."""
        self.account.tally.add(rows)
        kept, others = rows.filter(~pl.col(LEFT_OUT)), rows.filter(LEFT_OUT)
        for part, share in zip(self._samples, self._shares(kept), strict=True):
            self.account.add(part.name, share)
            part.write(share, lines, columns)
        if others.height:
            named = others.with_columns(rules=self._contract.reasons(), problem=pl.coalesce("problem", FOUND))
            columns.call(self._quarantine.write, named.select(self._quarantine_schema.names), named["size"])

    def close(self) -> dict[str, Written]:
        """All files by their names, in the order in which they are published."""
        files: dict[str, Written] = {}
        for part in self._samples:
            files |= part.close()
        written = self._quarantine.close()
        return files | ({quarantine_name(self._split): written} if written else {})

    def abandon(self) -> None:
        """Nothing is written any more."""
        for part in self._samples:
            part.jsonl.close()

    def _shares(self, kept: pl.DataFrame) -> tuple[pl.DataFrame, ...]:
        """The rows to train on, each as often as it is wanted, and, where there are two samples, those that are kept
        from it.
        """
        if len(self._samples) == 1:
            return (_repeated(kept),)
        percent, seed = self._sample.validation_percent, self._sample.seed
        kept_back = chosen_by_opening(kept, kept["question"], "validation:", percent, seed)
        return _repeated(kept.filter(~kept_back)), kept.filter(kept_back)


@dataclass(frozen=True)
class Prepared:
    """What has been prepared of a split."""

    files: dict[str, Written]
    """By name, in the order in which they are published."""
    report: SplitReport
    refs: tuple[SampleRef, ...]


def finish(
    raw: Raw,
    sample: SampleSection,
    section: ContractSection,
    account: Account,
    files: Mapping[str, Written],
    folder: Path,
    destination: Path,
    *,
    identity: Mapping[str, Any],
    token_counter: str,
    asked: Mapping[str, int | None],
    shards: Sequence[int] | None = None,
) -> Prepared:
    """The samples' files in `folder` have been proven usable; beside them are the report and, last, the manifest.

    `files` are those that have been written, `asked` how many rows are wanted of each source where that is a number,
    and `shards` the rows of each of the raw split's files, where these are elsewhere.

    Raises:
        DatasetError: as `prove_usable`.
    """
    ref = ref_of(raw)
    report = account.report(raw, section, token_counter, asked)
    rows = dict(zip(ref.files, shards, strict=True)).__getitem__ if shards is not None else rows_in
    prove_usable(raw, sample, report, folder / quarantine_name(ref.split), destination, rows)
    with HashingFile(folder / f"{ref.split}.report.json") as file:
        file.write(report.model_dump_json(indent=1).encode())
    together = {**files, f"{ref.split}.report.json": file.written}
    refs = tuple(_refs(report, together, destination))
    (folder / manifest_name(ref.split)).write_text(manifest_json(identity, refs, together), encoding="utf-8")
    return Prepared(together, report, refs)


def _refs(report: SplitReport, files: Mapping[str, Written], destination: Path) -> Iterable[SampleRef]:
    quarantine = quarantine_name(report.split)
    for name, profile in report.samples.items():
        yield SampleRef(
            split=name,
            jsonl=DataFile.at(destination / f"{name}.jsonl"),
            parquet=DataFile.at(destination / f"{name}.parquet"),
            rows=profile.rows,
            rows_total=report.rows_total,
            size_bytes=files[f"{name}.jsonl"].size,
            sha256=files[f"{name}.jsonl"].sha256,
            quarantine=DataFile.at(destination / quarantine) if quarantine in files else DataFile(),
            rows_quarantined=report.rows_quarantined,
            violations={violation.rule: violation.rows for violation in report.violations},
            truncated_share=profile.truncated_share,
            report=DataFile.at(destination / f"{report.split}.report.json"),
        )


def _repeated(rows: pl.DataFrame) -> pl.DataFrame:
    times = rows[TIMES].to_numpy()
    return rows[np.repeat(np.arange(rows.height), times)] if (times > 1).any() else rows
