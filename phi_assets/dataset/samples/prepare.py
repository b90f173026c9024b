"""From a raw split to files to train on: one pass that samples, judges, portrays and writes."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from phi_assets.config.dataset import VALIDATION_SPLIT, ContractSection, SampleSection
from phi_assets.dataset.contract.content import FOUND
from phi_assets.dataset.contract.rules import LEFT_OUT, SOURCE, Contract, is_learned, unseen_rows
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.errors import DatasetError, require_machine
from phi_assets.dataset.files.manifest import existing_samples, manifest_json, manifest_name
from phi_assets.dataset.files.write import HashingFile, InOrder, JsonLinesFile, ParquetFile, Written, publish, staging
from phi_assets.dataset.progress import Progress
from phi_assets.dataset.reports.profile import ProfileBuilder
from phi_assets.dataset.reports.report import Profile, SplitReport
from phi_assets.dataset.samples.benchmarks import read_benchmarks
from phi_assets.dataset.samples.mixture import (
    TIMES,
    Drawn,
    Mixture,
    Raw,
    draw,
    drawn_batches,
    identity_of,
    ref_of,
    refs_of,
)
from phi_assets.dataset.samples.selection import chosen_by_opening
from phi_assets.dataset.samples.tally import Tally
from phi_assets.dataset.samples.token_counting import token_counter
from phi_assets.dataset.samples.usable import prove_usable
from phi_assets.dataset.sources.schema import ARROW_SCHEMA, JSON_LINE_FIELD, carries_more
from phi_assets.refs import DataFile, SampleRef, SplitRef

Log = Callable[[str], None]

QUARANTINE_SCHEMA = pa.schema(
    [("row", pa.int64()), *ARROW_SCHEMA, ("rules", pa.list_(pa.string())), ("problem", pa.string())]
)

_READ_AHEAD = 1
_BATCH_ROWS = 1000


def prepare_split(
    raw: Raw,
    sample: SampleSection,
    contract: ContractSection,
    destination: Path,
    log: Log,
    *,
    validation: bool = False,
    against: SampleRef | None = None,
    tokenizer: ModelTokenizer | None = None,
) -> tuple[SampleRef, ...]:
    """`destination` holds the sampled rows that keep the contract, the others with the reason, and a report.

    The rows are those of a raw split, or of those of several sources, one after the other as if they were one. Which
    source a row is of is in the Parquet files and the report, not in the JSON Lines, from which a model learns.

    `<split>.jsonl` and `<split>.parquet` have equal rows in the raw split's order; with `validation`, a seeded share of
    them is in `validation_sft.jsonl` and `.parquet` instead. `<split>.quarantine.parquet` is there if rows were left
    out. Every row of the raw split is in one of them or was not sampled, and `<split>.report.json` has the numbers.

    Rows are read once, a few megabytes at a time, and memory does not grow with their number but for some sixty bytes a
    row. Equal input gives equal bytes, on any number of threads. What is there already, of the same content and
    choices and with unchanged bytes, stays as it is.

    Args:
        validation: keep `sample.validation_percent` of the rows from training. Rows that begin alike go together, and
            a row that is kept back from a small sample is kept back from a larger one.
        against: the sample that must have no row in common with this one.
        tokenizer: of the model, where `contract.tokenizer` names none; see `token_counter`.

    Returns:
        The sample, and with `validation` the sample that was kept from it.

    Raises:
        DatasetError: the raw shards have gone, changed or cannot be read, a source of a mixture has too few rows, a
            rule with the policy `fail` is broken, no row is left, or the files cannot be written; what was in
            `destination` before is untouched. Rows none of which can be used are kept as `<split>.rejected.parquet`.
    """
    ref = ref_of(raw)
    identity = identity_of(raw, sample, contract, validation=validation, against=against, tokenizer=tokenizer)
    try:
        with staging(destination, ref.split) as folder, ThreadPoolExecutor(max_workers=1) as aside:
            if known := existing_samples(destination, ref.split, identity):
                log(f"{ref.split}: the sample of {known[0].rows:,} rows is there already, unchanged")
                return known
            _prove_unchanged(ref)
            # Needed once rows are compared; until then others are read.
            near = contract.near_duplicate_threshold
            unseen = aside.submit(unseen_rows, os.fspath(against.parquet), near).result if against else None
            judge = Contract(
                ref.split,
                contract,
                token_counter(ref, sample, contract, tokenizer),
                unseen,
                benchmarks=read_benchmarks(contract, log) if is_learned(ref.split) else None,
                sources=tuple(refs_of(raw)),
                with_validation=validation,
            )
            outcome = _write(raw, sample, contract, judge, folder, destination, log)
            refs = _refs(outcome, destination)
            manifest = folder / manifest_name(ref.split)
            manifest.write_text(manifest_json(identity, refs, outcome.files), encoding="utf-8")
            # The manifest last: until it is there, the next run finds other checksums than the older one promises.
            for name in (*outcome.files, manifest.name):
                publish(folder / name, destination)
    except OSError as error:
        require_machine(error, destination)
        raise DatasetError(
            f"The sample of {ref.split} cannot be written to {destination}: {error}. Make room or set PHI_HOME to "
            "another disk, and run again; nothing of the earlier sample has changed."
        ) from error
    log(_summary(outcome.report))
    return refs


@dataclass(frozen=True)
class _Outcome:
    files: dict[str, Written]
    """By name, in the order in which they are published."""
    report: SplitReport


class _SampleFiles:
    """The two files of one sample, and the portrait of their rows."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema, seed: int) -> None:
        self.name = name
        self.schema = schema
        self.jsonl = JsonLinesFile(folder / f"{name}.jsonl")
        self.parquet = ParquetFile(folder / f"{name}.parquet", schema)
        self.profile = ProfileBuilder(seed)
        self.by_source: Counter[str | None] = Counter()
        """Rows of each source."""

    def write(self, rows: pl.DataFrame, lines: InOrder, columns: InOrder) -> None:
        """Add rows, each as often as it is wanted."""
        self.profile.add(rows)
        self.by_source.update(dict(rows[SOURCE].value_counts().iter_rows()))
        lines.call(self.jsonl.write, rows.select(name for name in self.schema.names if name != SOURCE))
        columns.call(self.parquet.write, rows.select(self.schema.names), rows["size"])

    def close(self) -> dict[str, Written]:
        """Both files as they were written."""
        parquet = self.parquet.close()
        files = {f"{self.name}.jsonl": self.jsonl.close()}
        return files | ({f"{self.name}.parquet": parquet} if parquet else {})


def _write(
    raw: Raw,
    sample: SampleSection,
    section: ContractSection,
    contract: Contract,
    folder: Path,
    destination: Path,
    log: Log,
) -> _Outcome:
    ref, drawn = ref_of(raw), draw(raw, sample)
    names = (ref.split, VALIDATION_SPLIT) if contract.with_validation else (ref.split,)
    more = [JSON_LINE_FIELD] if carries_more(ref.files) else []
    more += [pa.field(SOURCE, pa.string())] if isinstance(raw, Mixture) else []
    schema, quarantine_schema = (pa.schema([*known, *more]) for known in (ARROW_SCHEMA, QUARANTINE_SCHEMA))
    samples = [_SampleFiles(folder, name, schema, sample.seed) for name in names]
    quarantine = ParquetFile(folder / _quarantine_name(ref.split), quarantine_schema)
    tally = Tally(contract.rules)
    with ExitStack() as stack:
        for part in samples:
            stack.callback(part.jsonl.close)
        progress = stack.enter_context(Progress(ref.split, sum(each.rows for each in drawn.values()), log))
        lines, columns = stack.enter_context(InOrder()), stack.enter_context(InOrder())

        def work_off(read: int, judged: pl.DataFrame) -> None:
            rows = contract.compare(judged)
            tally.add(rows)
            kept, others = rows.filter(~pl.col(LEFT_OUT)), rows.filter(LEFT_OUT)
            for part, share in zip(samples, _shares(kept, sample, len(samples)), strict=True):
                part.write(share, lines, columns)
            if others.height:
                named = others.with_columns(rules=contract.reasons(), problem=pl.coalesce("problem", FOUND))
                columns.call(quarantine.write, named.select(quarantine_schema.names), named["size"])
            progress.advance(read, int(judged["size"].sum()))

        for batch in _ahead(_judged_batches(drawn, sample, contract)):
            work_off(*batch)
            del batch
    files: dict[str, Written] = {}
    for part in samples:
        files |= part.close()
    if written := quarantine.close():
        files[_quarantine_name(ref.split)] = written
    report = SplitReport(
        split=ref.split,
        rows_total=ref.rows,
        rows_not_sampled=ref.rows - tally.sampled,
        rows_quarantined=tally.left_out,
        not_carried=ref.not_carried,
        violations=tally.violations(section.policies),
        samples={
            part.name: part.profile.build(context_tokens=section.context_tokens, token_counter=contract.token_counter)
            for part in samples
        },
        rows_repeated=sum(part.profile.rows for part in samples) + tally.left_out - tally.sampled,
        sources=tally.sources(drawn, {part.name: part.by_source for part in samples}) if raw is not ref else (),
    )
    prove_usable(raw, sample, report, folder / _quarantine_name(ref.split), destination)
    with HashingFile(folder / _report_name(ref.split)) as file:
        file.write(report.model_dump_json(indent=1).encode())
    return _Outcome(files | {_report_name(ref.split): file.written}, report)


def _judged_batches(
    drawn: Mapping[str, Drawn], sample: SampleSection, contract: Contract
) -> Iterator[tuple[int, pl.DataFrame]]:
    """How many rows were read, and those of them that are sampled, judged."""
    read, waiting = 0, []
    for height, rows in drawn_batches(drawn, sample):
        read += height
        waiting.append(_alone(rows, height))
        # Whoever is given a batch shall be the last to hold it, else it lies in memory until there is the next one.
        del rows
        # A batch costs some milliseconds however few its rows are.
        if sum(rows.height for rows in waiting) >= _BATCH_ROWS:
            yield read, contract.judge(_joined(waiting))
            read = 0
    if read:
        yield read, contract.judge(_joined(waiting))


def _joined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """All rows in one chunk; the list is empty afterwards."""
    rows = pl.concat(parts, rechunk=True)
    parts.clear()
    return rows


def _alone(rows: pl.DataFrame, height: int) -> pl.DataFrame:
    """The rows without the memory of the batch of that height that they were taken from."""
    return rows if rows.height == height else pl.DataFrame(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _ahead(batches: Iterator[tuple[int, pl.DataFrame]]) -> Iterator[tuple[int, pl.DataFrame]]:
    """The same batches, the next ones being made in another thread while one is worked off."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = [reader.submit(next, batches, None) for _ in range(_READ_AHEAD)]
        while (batch := coming.pop(0).result()) is not None:
            coming.append(reader.submit(next, batches, None))
            yield batch
            del batch


def _shares(kept: pl.DataFrame, sample: SampleSection, count: int) -> tuple[pl.DataFrame, ...]:
    """The rows to train on, each as often as it is wanted, and, where there are two samples, those that are kept from
    it.
    """
    if count == 1:
        return (_repeated(kept),)
    kept_back = chosen_by_opening(kept, kept["question"], "validation:", sample.validation_percent, sample.seed)
    return _repeated(kept.filter(~kept_back)), kept.filter(kept_back)


def _repeated(rows: pl.DataFrame) -> pl.DataFrame:
    times = rows[TIMES].to_numpy()
    return rows[np.repeat(np.arange(rows.height), times)] if (times > 1).any() else rows


def _refs(outcome: _Outcome, destination: Path) -> tuple[SampleRef, ...]:
    report = outcome.report
    quarantine = _quarantine_name(report.split)
    return tuple(
        SampleRef(
            split=name,
            jsonl=DataFile.at(destination / f"{name}.jsonl"),
            parquet=DataFile.at(destination / f"{name}.parquet"),
            rows=profile.rows,
            rows_total=report.rows_total,
            size_bytes=outcome.files[f"{name}.jsonl"].size,
            sha256=outcome.files[f"{name}.jsonl"].sha256,
            quarantine=DataFile.at(destination / quarantine) if quarantine in outcome.files else DataFile(),
            rows_quarantined=report.rows_quarantined,
            violations={violation.rule: violation.rows for violation in report.violations},
            truncated_share=profile.truncated_share,
            report=DataFile.at(destination / _report_name(report.split)),
        )
        for name, profile in report.samples.items()
    )


def _quarantine_name(split: str) -> str:
    return f"{split}.quarantine.parquet"


def _report_name(split: str) -> str:
    return f"{split}.report.json"


def _prove_unchanged(ref: SplitRef) -> None:
    sizes = [_size(file) for file in ref.files]
    if None in sizes:
        gone = ref.files[sizes.index(None)]
        raise DatasetError(f"{gone} has gone since raw_{ref.split} was materialized: materialize that again")
    if sum(filter(None, sizes)) != ref.size_bytes:
        raise DatasetError(
            f"The shards of raw_{ref.split} have changed since it was materialized: materialize it again"
        )


def _size(file: DataFile) -> int | None:
    """In bytes, now; None where it is not there as it was."""
    if os.path.isabs(file.name):
        path = Path(file.name)
        return path.stat().st_size if path.is_file() else None
    return file.size if file.is_there else None


def _summary(report: SplitReport) -> str:
    parts = [f"{report.rows_total - report.rows_not_sampled:,} of {report.rows_total:,} rows sampled"]
    parts += [f"{profile.rows:,} in {name}{_truncated(profile)}" for name, profile in report.samples.items()]
    reasons = ", ".join(f"{broken.rule} {broken.rows:,}" for broken in report.violations if broken.rows)
    parts.append(f"{report.rows_quarantined:,} in quarantine" + (f" (rules broken: {reasons})" if reasons else ""))
    counters = {profile.token_counter for profile in report.samples.values()}
    return f"{report.split}: " + ", ".join(parts) + f"; tokens {', '.join(sorted(counters))}"


def _truncated(profile: Profile) -> str:
    return f" ({profile.truncated_share:.1%} longer than the context)" if profile.truncated_rows else ""
