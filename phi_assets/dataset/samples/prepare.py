"""From a raw split to files to train on: one pass that samples, judges, portrays and writes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from phi_assets.config.dataset import VALIDATION_SPLIT, ContractSection, Policies, SampleSection
from phi_assets.dataset.contract.rules import FOUND, LEFT_OUT, Contract, is_learned, unseen_rows
from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.manifest import existing_samples, manifest_json, manifest_name, preparation_identity
from phi_assets.dataset.files.write import HashingFile, InOrder, JsonLinesFile, ParquetFile, Written, publish, staging
from phi_assets.dataset.progress import Progress
from phi_assets.dataset.reports.profile import ProfileBuilder, conversations
from phi_assets.dataset.reports.report import Conversation, Profile, SplitReport, Violation
from phi_assets.dataset.samples.batches import read_batches
from phi_assets.dataset.samples.benchmarks import read_benchmarks
from phi_assets.dataset.samples.selection import chosen_by_opening, rows_to_read, take_sample
from phi_assets.dataset.samples.usable import prove_usable
from phi_assets.dataset.sources.schema import ARROW_SCHEMA, JSON_LINE_FIELD, carries_more
from phi_assets.refs import SampleRef, SplitRef

Log = Callable[[str], None]

QUARANTINE_SCHEMA = pa.schema(
    [("row", pa.int64()), *ARROW_SCHEMA, ("rules", pa.list_(pa.string())), ("problem", pa.string())]
)

_READ_AHEAD = 1
_BATCH_ROWS = 1000
_VIOLATION_EXAMPLES = 3


def prepare_split(
    ref: SplitRef,
    sample: SampleSection,
    contract: ContractSection,
    destination: Path,
    log: Log,
    *,
    validation: bool = False,
    against: SampleRef | None = None,
) -> tuple[SampleRef, ...]:
    """`destination` holds the sampled rows that keep the contract, the others with the reason, and a report.

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

    Returns:
        The sample, and with `validation` the sample that was kept from it.

    Raises:
        DatasetError: the raw shards have gone, changed or cannot be read, a rule with the policy `fail` is broken, no
            row is left, or the files cannot be written; what was in `destination` before is untouched. Rows none of
            which can be used are kept as `<split>.rejected.parquet`.
    """
    identity = preparation_identity(ref, sample, contract, validation=validation, against=against)
    try:
        with staging(destination, ref.split) as folder, ThreadPoolExecutor(max_workers=1) as aside:
            if known := existing_samples(destination, ref.split, identity):
                log(f"{ref.split}: the sample of {known[0].rows:,} rows is there already, unchanged")
                return known
            _prove_unchanged(ref)
            # Needed once rows are compared; until then others are read.
            near = contract.near_duplicate_threshold
            unseen = aside.submit(unseen_rows, against.parquet, near).result if against else None
            judge = Contract(
                ref.split,
                contract,
                TokenCounter(contract.tokenizer),
                unseen,
                benchmarks=read_benchmarks(contract, log) if is_learned(ref.split) else None,
                with_validation=validation,
            )
            outcome = _write(ref, sample, contract, judge, folder, destination, log)
            refs = _refs(outcome, destination)
            manifest = folder / manifest_name(ref.split)
            manifest.write_text(manifest_json(identity, refs, outcome.files), encoding="utf-8")
            # The manifest last: until it is there, the next run finds other checksums than the older one promises.
            for name in (*outcome.files, manifest.name):
                publish(folder / name, destination)
    except OSError as error:
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

    def close(self) -> dict[str, Written]:
        """Both files as they were written."""
        parquet = self.parquet.close()
        files = {f"{self.name}.jsonl": self.jsonl.close()}
        return files | ({f"{self.name}.parquet": parquet} if parquet else {})


class _Tally:
    """How many sampled rows there were, and how many of them break which rule."""

    def __init__(self, rules: tuple[str, ...]) -> None:
        self.sampled = self.left_out = 0
        self._broken = dict.fromkeys(rules, 0)
        self._examples: dict[str, list[Conversation]] = {rule: [] for rule in rules}

    def add(self, rows: pl.DataFrame) -> None:
        """Count judged rows."""
        counts = rows.select(pl.col(LEFT_OUT, *map(Contract.flag, self._broken)).sum()).row(0, named=True)
        self.left_out += counts[LEFT_OUT]
        for rule in self._broken:
            count = counts[Contract.flag(rule)]
            self._broken[rule] += count
            room = _VIOLATION_EXAMPLES - len(self._examples[rule])
            if count and room:
                self._examples[rule] += conversations(rows.filter(Contract.flag(rule)).head(room))
        self.sampled += rows.height

    def violations(self, policies: Policies) -> tuple[Violation, ...]:
        """One for each rule, broken or not."""
        return tuple(
            Violation(rule=rule, policy=policies.of(rule), rows=rows, examples=tuple(self._examples[rule]))
            for rule, rows in self._broken.items()
        )


def _write(
    ref: SplitRef,
    sample: SampleSection,
    section: ContractSection,
    contract: Contract,
    folder: Path,
    destination: Path,
    log: Log,
) -> _Outcome:
    names = (ref.split, VALIDATION_SPLIT) if contract.with_validation else (ref.split,)
    more = [JSON_LINE_FIELD] if carries_more(ref.files) else []
    schema, quarantine_schema = (pa.schema([*known, *more]) for known in (ARROW_SCHEMA, QUARANTINE_SCHEMA))
    samples = [_SampleFiles(folder, name, schema, sample.seed) for name in names]
    quarantine = ParquetFile(folder / _quarantine_name(ref.split), quarantine_schema)
    tally = _Tally(contract.rules)
    with ExitStack() as stack:
        for part in samples:
            stack.callback(part.jsonl.close)
        progress = stack.enter_context(Progress(ref.split, rows_to_read(ref.rows, sample), log))
        lines, columns = stack.enter_context(InOrder()), stack.enter_context(InOrder())

        def work_off(read: int, judged: pl.DataFrame) -> None:
            rows = contract.compare(judged)
            tally.add(rows)
            kept, others = rows.filter(~pl.col(LEFT_OUT)), rows.filter(LEFT_OUT)
            for part, share in zip(samples, _shares(kept, sample, len(samples)), strict=True):
                part.profile.add(share)
                lines.call(part.jsonl.write, share.select(part.schema.names))
                columns.call(part.parquet.write, share.select(part.schema.names), share["size"])
            if others.height:
                named = others.with_columns(rules=contract.reasons(), problem=pl.coalesce("problem", FOUND))
                columns.call(quarantine.write, named.select(quarantine_schema.names), named["size"])
            progress.advance(read, int(judged["size"].sum()))

        for batch in _ahead(_judged_batches(ref, sample, contract)):
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
    )
    prove_usable(ref, sample, report, folder / _quarantine_name(ref.split), destination)
    with HashingFile(folder / _report_name(ref.split)) as file:
        file.write(report.model_dump_json(indent=1).encode())
    return _Outcome(files | {_report_name(ref.split): file.written}, report)


def _judged_batches(ref: SplitRef, sample: SampleSection, contract: Contract) -> Iterator[tuple[int, pl.DataFrame]]:
    """How many rows were read, and those of them that are sampled, judged."""
    read, waiting = 0, []
    for batch in read_batches(ref, rows_to_read(ref.rows, sample)):
        read += batch.height
        waiting.append(_alone(take_sample(batch, sample, ref.part), batch))
        # Whoever is given a batch shall be the last to hold it, else it lies in memory until there is the next one.
        del batch
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


def _alone(rows: pl.DataFrame, batch: pl.DataFrame) -> pl.DataFrame:
    """The rows without the memory of the batch that they were taken from."""
    return rows if rows.height == batch.height else pl.DataFrame(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _ahead(batches: Iterator[tuple[int, pl.DataFrame]]) -> Iterator[tuple[int, pl.DataFrame]]:
    """The same batches, the next ones being made in another thread while one is worked off."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = [reader.submit(next, batches, None) for _ in range(_READ_AHEAD)]
        while (batch := coming.pop(0).result()) is not None:
            coming.append(reader.submit(next, batches, None))
            yield batch
            del batch


def _shares(kept: pl.DataFrame, sample: SampleSection, count: int) -> tuple[pl.DataFrame, ...]:
    """The rows to train on, and, where there are two samples, those that are kept from it."""
    if count == 1:
        return (kept,)
    kept_back = chosen_by_opening(kept, kept["question"], "validation:", sample.validation_percent, sample.seed)
    return kept.filter(~kept_back), kept.filter(kept_back)


def _refs(outcome: _Outcome, destination: Path) -> tuple[SampleRef, ...]:
    report = outcome.report
    quarantine = _quarantine_name(report.split)
    return tuple(
        SampleRef(
            split=name,
            jsonl=str(destination / f"{name}.jsonl"),
            parquet=str(destination / f"{name}.parquet"),
            rows=profile.rows,
            rows_total=report.rows_total,
            size_bytes=outcome.files[f"{name}.jsonl"].size,
            sha256=outcome.files[f"{name}.jsonl"].sha256,
            quarantine=str(destination / quarantine) if quarantine in outcome.files else "",
            rows_quarantined=report.rows_quarantined,
            violations={violation.rule: violation.rows for violation in report.violations},
            truncated_share=profile.truncated_share,
            report=str(destination / _report_name(report.split)),
        )
        for name, profile in report.samples.items()
    )


def _quarantine_name(split: str) -> str:
    return f"{split}.quarantine.parquet"


def _report_name(split: str) -> str:
    return f"{split}.report.json"


def _prove_unchanged(ref: SplitRef) -> None:
    missing = [file for file in ref.files if not Path(file).is_file()]
    if missing:
        raise DatasetError(f"{missing[0]} has gone since raw_{ref.split} was materialized: materialize that again")
    if sum(Path(file).stat().st_size for file in ref.files) != ref.size_bytes:
        raise DatasetError(
            f"The shards of raw_{ref.split} have changed since it was materialized: materialize it again"
        )


def _summary(report: SplitReport) -> str:
    parts = [f"{report.rows_total - report.rows_not_sampled:,} of {report.rows_total:,} rows sampled"]
    parts += [f"{profile.rows:,} in {name}{_truncated(profile)}" for name, profile in report.samples.items()]
    reasons = ", ".join(f"{broken.rule} {broken.rows:,}" for broken in report.violations if broken.rows)
    parts.append(f"{report.rows_quarantined:,} in quarantine" + (f" (rules broken: {reasons})" if reasons else ""))
    return f"{report.split}: " + ", ".join(parts)


def _truncated(profile: Profile) -> str:
    return f" ({profile.truncated_share:.1%} longer than the context)" if profile.truncated_rows else ""
