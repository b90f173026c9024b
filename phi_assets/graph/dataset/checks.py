"""Is the sample fit to train on?"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from phi_assets.config.recipe import SAMPLED_SPLITS, VALIDATION_SPLIT, ContractSection
from phi_assets.dataset.contract.rules import applicable_rules
from phi_assets.dataset.reports.report import SplitReport, read_report
from phi_assets.dataset.samples.verify import (
    Common,
    Examined,
    common,
    examine,
    examples,
    file_problems,
    judging_problems,
    keys,
)
from phi_assets.graph.rendering import table
from phi_assets.graph.resources.recipe import RecipeResource
from phi_assets.refs import SampleRef

AGAINST = {"train_sft": ("test_sft", VALIDATION_SPLIT), VALIDATION_SPLIT: ("test_sft",), "train_gen": ("test_gen",)}
"""Samples that a sample must have no conversation of, or what is measured on them proves nothing."""

_TRAINING = ("train_sft", VALIDATION_SPLIT)
"""What the model that gets the prompts of `test_gen` has been made with."""

_LEAKS = ("leaked_id", "leaked_text")

_ASKS = {
    "schema": "The files hold the columns, rows and bytes that the sample's ref promises.",
    "minimum_rows": "There is something to work with; in `train_sft`, as many rows as `contract.minimum_rows`.",
    "contract": "No row breaks a rule whose policy is `drop` or `fail`, and few enough rows are in quarantine.",
    "leakage": "No prompt_id and no normalized question is in a sample that this one is measured with.",
    "truncated_share": "Few enough conversations are longer than the model's context.",
    "no_warnings": "Nothing that the recipe only warns about.",
}

# `all_deps_blocking_checks_passed` takes a blocking check that failed with WARN for failed: automation would stop.
_NOT_BLOCKING = frozenset({"no_warnings"})


@dataclass(frozen=True)
class _Subject:
    """A sample, and what looking at its rows has shown."""

    sample: SampleRef
    contract: ContractSection
    report: SplitReport
    examined: Examined
    others: Mapping[str, Common]
    """Its rows that occur in other samples, by the names of those."""

    @property
    def name(self) -> str:
        return _name(self.sample.split)

    def broken(self, policies: Iterable[str]) -> dict[str, int]:
        """Rows in the file that break a rule with one of these policies, by rule, without rules that none breaks."""
        rows = {rule: len(found) for rule, found in self.examined.broken.items()}
        rows["too_long"] = self.report.samples[self.sample.split].truncated_rows
        for other, found in self.others.items():
            # No policy allows training on what is evaluated with.
            if other != VALIDATION_SPLIT:
                rows |= {"leaked_id": len(found.ids), "leaked_text": len(found.questions)}
        applicable = applicable_rules(self.sample.split, against=bool(self.others))
        wanted = [rule for rule in applicable if self.contract.policies.of(rule) in policies]
        return {rule: rows[rule] for rule in wanted if rows.get(rule)}


def _sample_checks(split: str) -> dg.AssetChecksDefinition:
    against = AGAINST.get(split, ())
    names = [name for name in _ASKS if name != "leakage" or against]
    defined = dg.multi_asset_check(
        name=f"sampled_{split}_checks",
        description=f"The files of the sample of `{split}` are read again.",
        specs=[
            dg.AssetCheckSpec(
                name,
                asset=["sampled", split],
                description=_ASKS[name],
                blocking=name not in _NOT_BLOCKING,
                additional_deps=[["sampled", other] for other in against],
            )
            for name in names
        ],
        ins={
            "sample": dg.AssetIn(["sampled", split]),
            **{
                name: dg.AssetIn(["sampled", other]) for name, other in zip(("other", "another"), against, strict=False)
            },
        },
        can_subset=True,
    )
    return defined((_of_one, _of_two, _of_three)[len(against)])


# Dagster tells the types of inputs from the names and annotations of parameters, so every number of them is a function.
def _of_one(
    context: dg.AssetCheckExecutionContext, sample: SampleRef, recipe: RecipeResource
) -> Iterator[dg.AssetCheckResult]:
    yield from _results(context, recipe.value.contract, sample)


def _of_two(
    context: dg.AssetCheckExecutionContext, sample: SampleRef, other: SampleRef, recipe: RecipeResource
) -> Iterator[dg.AssetCheckResult]:
    yield from _results(context, recipe.value.contract, sample, other)


def _of_three(
    context: dg.AssetCheckExecutionContext,
    sample: SampleRef,
    other: SampleRef,
    another: SampleRef,
    recipe: RecipeResource,
) -> Iterator[dg.AssetCheckResult]:
    yield from _results(context, recipe.value.contract, sample, other, another)


def _results(
    context: dg.AssetCheckExecutionContext, contract: ContractSection, sample: SampleRef, *others: SampleRef
) -> Iterator[dg.AssetCheckResult]:
    wanted = {key.name for key in context.selected_asset_check_keys}
    if "schema" in wanted:
        yield _schema(sample)
        if judging_problems(sample):
            # Its rows cannot be judged: the other checks stay without a result, and this one fails the step.
            return
    if "minimum_rows" in wanted:
        yield _minimum_rows(sample, contract)
    if "truncated_share" in wanted:
        yield _truncated_share(sample, contract)
    judges = {"contract": _contract, "leakage": _leakage, "no_warnings": _no_warnings}
    if wanted & judges.keys():
        subject = _subject(sample, contract, others)
        yield from (judge(subject) for name, judge in judges.items() if name in wanted)


def _subject(sample: SampleRef, contract: ContractSection, others: Iterable[SampleRef]) -> _Subject:
    examined = examine(Path(sample.parquet))
    return _Subject(
        sample=sample,
        contract=contract,
        report=read_report(Path(sample.report)),
        examined=examined,
        others={other.split: common(examined.keys, keys(Path(other.parquet))) for other in others},
    )


def _schema(sample: SampleRef) -> dg.AssetCheckResult:
    problems = file_problems(sample)
    return _result(
        "schema",
        [f"{'; '.join(problems)}. Materialize {_name(sample.split)} again."] if problems else [],
        f"{sample.rows:,} rows in both files.",
        {"rows": sample.rows, "size_bytes": sample.size_bytes, "parquet": dg.MetadataValue.path(sample.parquet)},
    )


def _minimum_rows(sample: SampleRef, contract: ContractSection) -> dg.AssetCheckResult:
    minimum = contract.minimum_rows if sample.split == "train_sft" else 1
    problem = (
        f"{_name(sample.split)} has {sample.rows:,} of the {sample.rows_total:,} rows of its raw split, "
        f"at least {minimum:,} are needed. Raise sample.percent in the recipe, or lower contract.minimum_rows; "
        f"{sample.rows_quarantined:,} rows are in quarantine."
    )
    return _result(
        "minimum_rows",
        [problem] if sample.rows < minimum else [],
        f"{sample.rows:,} rows; the minimum is {minimum:,}.",
        {"rows": sample.rows, "rows_total": sample.rows_total, "minimum": minimum},
    )


def _contract(subject: _Subject) -> dg.AssetCheckResult:
    strict = {rule: rows for rule, rows in subject.broken(("drop", "fail")).items() if rule not in _LEAKS}
    report, limit = subject.report, subject.contract.max_quarantined_percent
    sampled = report.rows_total - report.rows_not_sampled
    kept = sum(profile.rows for profile in report.samples.values())
    percent = 100 * report.rows_quarantined / sampled if sampled else 0.0
    problems = []
    if strict:
        problems.append(
            f"Rows of {subject.name} break rules that forbid it: {_listing(strict)}. The file or the recipe's "
            "contract.policies have changed since it was written: materialize it again."
        )
    # What was left out of `train_sft` before `validation_sft` was kept from it is the matter of the former alone.
    if report.split == subject.sample.split:
        problems += _quarantine_problems(subject, percent)
        if sampled != report.rows_quarantined + kept:
            problems.append(
                f"Of {sampled:,} sampled rows {report.rows_quarantined:,} are in quarantine and {kept:,} were kept: "
                f"{subject.sample.report} and the files are of different runs. Materialize {subject.name} again."
            )
    return _result(
        "contract",
        problems,
        f"{subject.examined.rows:,} rows keep the contract; {percent:.2f} % of {sampled:,} sampled rows of "
        f"raw/{report.split} are in quarantine, {limit:g} % may be.",
        {
            "rows": subject.examined.rows,
            "rows_that_break_rules": sum(strict.values()),
            "rows_quarantined": report.rows_quarantined,
            "quarantined_percent": round(percent, 4),
            "max_quarantined_percent": limit,
            **_broken_examples(subject, strict),
        },
    )


def _quarantine_problems(subject: _Subject, percent: float) -> list[str]:
    limit, report = subject.contract.max_quarantined_percent, subject.report
    if percent <= limit:
        return []
    reasons = {broken.rule: broken.rows for broken in report.violations if broken.rows and broken.policy == "drop"}
    return [
        f"{report.rows_quarantined:,} sampled rows, {percent:.2f} %, are in quarantine ({_listing(reasons)}), more "
        f"than contract.max_quarantined_percent ({limit:g}). Read {subject.sample.quarantine or 'the asset metadata'}: "
        "mend the data, change contract.policies, or raise the limit."
    ]


def _leakage(subject: _Subject) -> dg.AssetCheckResult:
    policies = subject.contract.policies
    problems, rows, numbers = [], set(), {}
    for other, found in subject.others.items():
        held_out = other == VALIDATION_SPLIT
        ids = found.ids if held_out or policies.leaked_id != "warn" else []
        questions = found.questions if held_out or policies.leaked_text != "warn" else []
        rows |= {*ids, *questions}
        numbers |= {f"{other}/ids": len(found.ids), f"{other}/questions": len(found.questions)}
        if ids or questions:
            problems.append(
                f"{len({*ids, *questions}):,} rows of {subject.name} are in {_name(other)} as well: {len(ids):,} by "
                f"prompt_id, {len(questions):,} by their question. A model that has seen them is measured too good: "
                f"materialize {_name('train_sft' if held_out else subject.sample.split)} again."
            )
    compared = " and ".join(map(_name, subject.others))
    allowed = len({row for found in subject.others.values() for row in found.rows})
    return _result(
        "leakage",
        problems,
        f"{allowed:,} of {subject.examined.rows:,} rows are in {compared} as well, which contract.policies allow."
        if allowed
        else f"No prompt_id and no question of {subject.examined.rows:,} rows is in {compared}.",
        {"rows": subject.examined.rows, **numbers, **_examples(subject.examined.path, rows)},
    )


def _truncated_share(sample: SampleRef, contract: ContractSection) -> dg.AssetCheckResult:
    profile = read_report(Path(sample.report)).samples[sample.split]
    percent, limit = 100 * profile.truncated_share, contract.max_truncated_percent
    found = (
        f"{profile.truncated_rows:,} of {profile.rows:,} conversations, {percent:.2f} %, are longer than "
        f"{profile.context_tokens:,} tokens ({profile.token_counter})"
    )
    problem = (
        f"{found}, more than contract.max_truncated_percent ({limit:g}): training would not see how they end. Give "
        "contract.context_tokens the model's context, set contract.policies.too_long to drop, or raise the limit."
    )
    return _result(
        "truncated_share",
        [problem] if percent > limit else [],
        f"{found}; {limit:g} % may be.",
        {
            "truncated_percent": round(percent, 4),
            "max_truncated_percent": limit,
            "truncated_rows": profile.truncated_rows,
            "rows": profile.rows,
        },
    )


def _no_warnings(subject: _Subject) -> dg.AssetCheckResult:
    sample, minimum = subject.sample, subject.contract.minimum_rows
    warned = subject.broken(("warn",))
    warnings = []
    if warned:
        warnings.append(
            f"{subject.name} holds rows that break rules whose policy is warn: {_listing(warned)}. Read examples in "
            "the asset's metadata; contract.policies in the recipe can drop them."
        )
    if sample.split != "train_sft" and 0 < sample.rows < minimum:
        warnings.append(
            f"{subject.name} has {sample.rows:,} rows, fewer than contract.minimum_rows ({minimum:,}): figures "
            "that are measured on it say little. Raise sample.percent."
        )
    return _result(
        "no_warnings",
        warnings,
        "Nothing to warn about.",
        {
            "rows_with_warnings": sum(warned.values()),
            **_examples(
                subject.examined.path, {row for rule in warned for row in subject.examined.broken.get(rule, ())}
            ),
        },
    )


# Only ordered after the training samples: with their refs as inputs, `sampled/test_gen` alone could not be materialized
# before they were.
@dg.asset_check(
    asset=["sampled", "test_gen"],
    additional_deps=[["sampled", split] for split in _TRAINING],
    description="The model has not been trained on a prompt that it will be asked: such an answer proves nothing.",
)
def prompts_unseen(context: dg.AssetCheckExecutionContext, sample: SampleRef) -> dg.AssetCheckResult:
    prompts = keys(Path(sample.parquet))
    seen: dict[str, Common] = {}
    for split in _TRAINING:
        if (parquet := _latest_parquet(context.instance, split)) is not None:
            seen[split] = common(prompts, keys(parquet))
    rows = {row for found in seen.values() for row in found.rows}
    compared = " and ".join(map(_name, seen)) or "nothing, as no training data has been sampled here"
    return dg.AssetCheckResult(
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(rows):,} of {sample.rows:,} prompts are in {compared} as well: good answers to them prove "
        "nothing. Score on other prompts, or use a data set whose splits are disjoint."
        if rows
        else f"{sample.rows:,} prompts compared with {compared}.",
        metadata={
            "rows": sample.rows,
            **{f"{split}/rows": len(found.rows) for split, found in seen.items()},
            **_examples(Path(sample.parquet), rows),
        },
    )


def _latest_parquet(instance: dg.DagsterInstance, split: str) -> Path | None:
    """The file of a sample's last materialization, where there is one and it is still there."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["sampled", split]))
    materialization = event.asset_materialization if event else None
    value = materialization.metadata.get("parquet") if materialization else None
    path = Path(value.path) if isinstance(value, dg.PathMetadataValue) and value.path else None
    return path if path and path.is_file() else None


def _result(name: str, problems: list[str], fine: str, metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN if name in _NOT_BLOCKING else dg.AssetCheckSeverity.ERROR,
        description="\n\n".join(problems) or fine,
        metadata=metadata,
    )


def _examples(parquet: Path, rows: set[int]) -> dict[str, Any]:
    found = examples(parquet, sorted(rows))
    return {"examples": table(found)} if found else {}


def _broken_examples(subject: _Subject, rules: Iterable[str]) -> dict[str, Any]:
    rows = {row for rule in rules for row in subject.examined.broken.get(rule, ())}
    return _examples(subject.examined.path, rows)


def _listing(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} {count:,}" for rule, count in rows.items())


def _name(split: str) -> str:
    return f"sampled/{split}"


sample_checks = [_sample_checks(split) for split in SAMPLED_SPLITS]
