"""Whether a sample can be used, and what is said where it cannot."""

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from phi_assets.config.dataset import SampleSection
from phi_assets.dataset.contract.rules import SOURCE
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.reports.report import SplitReport
from phi_assets.dataset.samples.mixture import Raw, ref_of, refs_of
from phi_assets.refs import DataFile, SplitRef

_REMEDIES = {
    "schema": (
        "something of it is missing",
        "complete the rows, or say in dataset.columns what the columns are called",
    ),
    "no_messages": ("there are no messages", "say in dataset.columns which column holds them"),
    "roles": (
        "the turns are not those of a chat",
        "a system message may come first, then the user and the assistant take turns, and the user begins: take the "
        "others out of the rows, or say in dataset.roles what their names mean",
    ),
    "ending": (
        "the assistant does not have the last word",
        "leave the last question out of the rows, or set contract.policies.ending to warn",
    ),
    "empty_content": ("a message is blank", "fill it or leave the turn out, or set contract.policies.empty_content"),
    "markup": (
        "a message holds the model's own markup, such as <|assistant|>",
        "write it otherwise in the source; with contract.policies.markup set to warn, the wrong words are trained",
    ),
    "personal_data": (
        "a message holds personal data",
        "take it out of the source, or name fewer kinds in contract.personal_data",
    ),
    "prompt_mismatch": ("the prompt is not the first question", "set contract.policies.prompt_mismatch to warn"),
    "duplicate_id": ("an earlier row has the same prompt_id", "give rows ids of their own, or leave the column out"),
    "duplicate_conversation": ("an earlier row has the same messages", "set contract.policies.duplicate_conversation"),
    "leaked_id": (
        "a row of the test split has the same prompt_id",
        "name another split to test with in dataset.splits, or give rows ids of their own",
    ),
    "leaked_text": (
        "a row of the test split asks the same",
        "name another split to test with in dataset.splits: a model that has seen its questions is measured too good",
    ),
    "leaked_near_duplicate": (
        "a row of the test split says nearly the same",
        "name another split to test with in dataset.splits, or raise contract.near_duplicate_threshold",
    ),
    "contaminated": (
        "a question of the files in contract.decontaminate is in it",
        "take the row out of the source, or raise contract.decontaminate_threshold",
    ),
    "near_duplicate": ("an earlier row says nearly the same", "raise contract.near_duplicate_threshold"),
    "too_long": ("it is longer than contract.context_tokens", "raise that, or set contract.policies.too_long to warn"),
}
"""What is wrong with a row that breaks a rule, and what helps."""


class NoneUsableError(DatasetError):
    """Every row breaks the contract."""

    def __init__(self, problem: str, rejected: Path) -> None:
        super().__init__(f"{problem}. All of them, with the reasons, are in {rejected}")
        self.problem = problem
        """Without the place where the rows are kept."""


def rows_in(file: DataFile) -> int:
    """How many rows a Parquet file has."""
    return pq.read_metadata(file.readable()).num_rows


def prove_usable(
    raw: Raw,
    sample: SampleSection,
    report: SplitReport,
    quarantine: Path,
    destination: Path,
    rows_of: Callable[[DataFile], int] = rows_in,
) -> None:
    """There is something to train on, and no rule is broken that forbids it; `rows_of` a shard says what it holds.

    Raises:
        DatasetError: otherwise.
        NoneUsableError: no row keeps the contract; the message quotes the commonest problem, and the rows are kept in
            `destination`.
    """
    ref = ref_of(raw)
    broken = {violation.rule: violation for violation in report.violations if violation.rows}
    listed = ", ".join(f"{rule} {violation.rows:,}" for rule, violation in broken.items())
    forbidden = [violation for violation in broken.values() if violation.policy == "fail"]
    if forbidden:
        first = forbidden[0].examples[0]
        raise DatasetError(
            f"Split {ref.split!r} of {ref.source} breaks rules with the policy `fail`: "
            + ", ".join(f"{violation.rule} in {violation.rows:,} rows" for violation in forbidden)
            + f"; the first is row {first.row:,}, prompt_id {first.prompt_id}. Set `contract.policies` to `drop` or "
            "`warn`, or mend the source."
        )
    rows = [profile.rows for profile in report.samples.values()]
    if report.rows_not_sampled == report.rows_total and ref.part == "test":
        raise DatasetError(
            f"{sample.test_percent:g} % of the rows of {ref.source} are none to test with: raise sample.test_percent "
            "or sample.percent"
        )
    if report.rows_not_sampled == report.rows_total:
        raise DatasetError(
            f"{sample.percent:g} % ({sample.mode}) of the {ref.rows:,} rows of {ref.split!r} are none: "
            "raise sample.percent"
        )
    if not sum(rows):
        rejected = destination / f"{ref.split}.rejected.parquet"
        os.replace(quarantine, rejected)
        raise NoneUsableError(
            f"None of the {report.rows_quarantined:,} sampled rows of {ref.split!r} keeps the contract ({listed}). "
            f"{_commonest(raw, rejected, rows_of)}",
            rejected,
        )
    if not all(rows):
        raise DatasetError(
            f"{sample.validation_percent:g} % of the {sum(rows):,} rows of {ref.split!r} leave "
            f"{' and '.join(f'{name} with {profile.rows:,}' for name, profile in report.samples.items())}: "
            "raise sample.percent or change sample.validation_percent"
        )


def _commonest(raw: Raw, rejected: Path, rows_of: Callable[[DataFile], int]) -> str:
    """The problem that most of the rows have, where the first of them is, and what helps."""
    rows = pl.read_parquet(rejected)
    # Problems name the message: [7] and [9] are one.
    kind = pl.coalesce(pl.col("problem").str.replace_all(r"\[\d+\]", "[]"), pl.col("rules").list.first())
    found = rows.with_columns(kind=kind).group_by("kind", maintain_order=True).agg(pl.len(), pl.all().first())
    first = found.sort("len", descending=True, maintain_order=True).row(0, named=True)
    rule = first["rules"][0]
    what, remedy = _REMEDIES[rule]
    what = first["problem"] or what
    if rule == "roles":
        what += f" ({', '.join(str(message['role']) for message in first['messages'][:6])})"
    file, row = _place(refs_of(raw)[first.get(SOURCE, "")], first["row"], rows_of)
    where = f"row {row:,} of {file} is the first"
    return f"The commonest problem, of {first['len']:,}, is that {what}: {where}. To mend it, {remedy}"


def _place(ref: SplitRef, row: int, rows_of: Callable[[DataFile], int]) -> tuple[str, int]:
    """The source's file in which a row of the split is, and its number there, from 1."""
    names = ref.sources or [file.name for file in ref.files]
    for file, source in zip(ref.files, names, strict=True):
        rows = rows_of(file)
        if row < rows:
            return Path(source).name, row + 1
        row -= rows
    return ref.source, row + 1
