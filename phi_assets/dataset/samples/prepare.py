"""From a raw split to files to train on: one pass that samples, judges, portrays and writes."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.contract.rules import Contract, is_learned, unseen_rows
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.errors import DatasetError, require_machine
from phi_assets.dataset.files.manifest import existing_samples, manifest_name
from phi_assets.dataset.files.write import InOrder, Written, publish, staging
from phi_assets.dataset.progress import Progress
from phi_assets.dataset.reports.report import Profile, SplitReport
from phi_assets.dataset.samples.batches import gathered, joined
from phi_assets.dataset.samples.benchmarks import read_benchmarks
from phi_assets.dataset.samples.mixture import Drawn, Mixture, Raw, draw, drawn_batches, identity_of, ref_of, refs_of
from phi_assets.dataset.samples.split_files import SplitFiles, finish, more_columns
from phi_assets.dataset.samples.tally import Account
from phi_assets.dataset.samples.token_counting import token_counter
from phi_assets.dataset.sources.schema import carries_more
from phi_assets.refs import DataFile, SampleRef, SplitRef

Log = Callable[[str], None]

_READ_AHEAD = 1


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
            drawn = draw(raw, sample)
            account, files = _write(raw, drawn, sample, judge, folder, log)
            prepared = finish(
                raw,
                sample,
                contract,
                account,
                files,
                folder,
                destination,
                identity=identity,
                token_counter=judge.token_counter,
                asked={name: each.asked for name, each in drawn.items()},
            )
            # Files at a URL may have been replaced while they were read.
            _prove_unchanged(ref)
            # The manifest last: until it is there, the next run finds other checksums than the older one promises.
            for name in (*prepared.files, manifest_name(ref.split)):
                publish(folder / name, destination)
    except OSError as error:
        require_machine(error, destination)
        raise DatasetError(
            f"The sample of {ref.split} cannot be written to {destination}: {error}. Make room or set PHI_HOME to "
            "another disk, and run again; nothing of the earlier sample has changed."
        ) from error
    log(summary(prepared.report))
    return prepared.refs


def _write(
    raw: Raw, drawn: Mapping[str, Drawn], sample: SampleSection, contract: Contract, folder: Path, log: Log
) -> tuple[Account, dict[str, Written]]:
    ref = ref_of(raw)
    more = more_columns(with_lines=carries_more(ref.files), with_sources=isinstance(raw, Mixture))
    written = SplitFiles(folder, ref.split, sample, contract, more)
    with ExitStack() as stack:
        stack.callback(written.abandon)
        progress = stack.enter_context(Progress(ref.split, sum(each.rows for each in drawn.values()), log))
        lines, columns = stack.enter_context(InOrder()), stack.enter_context(InOrder())

        def work_off(read: int, judged: pl.DataFrame) -> None:
            written.write(contract.compare(judged), lines, columns)
            progress.advance(read, int(judged["size"].sum()))

        for batch in _ahead(_judged_batches(drawn, sample, contract)):
            work_off(*batch)
            del batch
    return written.account, written.close()


def _judged_batches(
    drawn: Mapping[str, Drawn], sample: SampleSection, contract: Contract
) -> Iterator[tuple[int, pl.DataFrame]]:
    """How many rows were read, and those of them that are sampled, judged."""
    for read, parts in gathered(drawn_batches(drawn, sample)):
        yield read, contract.judge(joined(parts))


def _ahead(batches: Iterator[tuple[int, pl.DataFrame]]) -> Iterator[tuple[int, pl.DataFrame]]:
    """The same batches, the next ones being made in another thread while one is worked off."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = [reader.submit(next, batches, None) for _ in range(_READ_AHEAD)]
        while (batch := coming.pop(0).result()) is not None:
            coming.append(reader.submit(next, batches, None))
            yield batch
            del batch


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


def summary(report: SplitReport) -> str:
    """Where the rows of a split went, in one line of a log."""
    parts = [f"{report.rows_total - report.rows_not_sampled:,} of {report.rows_total:,} rows sampled"]
    parts += [f"{profile.rows:,} in {name}{_truncated(profile)}" for name, profile in report.samples.items()]
    reasons = ", ".join(f"{broken.rule} {broken.rows:,}" for broken in report.violations if broken.rows)
    parts.append(f"{report.rows_quarantined:,} in quarantine" + (f" (rules broken: {reasons})" if reasons else ""))
    counters = {profile.token_counter for profile in report.samples.values()}
    return f"{report.split}: " + ", ".join(parts) + f"; tokens {', '.join(sorted(counters))}"


def _truncated(profile: Profile) -> str:
    return f" ({profile.truncated_share:.1%} longer than the context)" if profile.truncated_rows else ""
