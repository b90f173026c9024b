"""What the checks of a sample find, in words and figures: one result for each question about its files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from phi_assets.config.dataset import VALIDATION_SPLIT, ContractSection
from phi_assets.dataset.contract.rules import applicable_rules
from phi_assets.dataset.reports.report import SplitReport, read_report
from phi_assets.dataset.samples.findings import Findings, Judged, Rows, first_of
from phi_assets.dataset.samples.verify import Example
from phi_assets.graph.rendering import table
from phi_assets.refs import SampleRef

# `all_deps_blocking_checks_passed` takes a blocking check that failed with WARN for failed: automation would stop.
NOT_BLOCKING = frozenset({"no_warnings"})

_LEAKS = ("leaked_id", "leaked_text", "leaked_near_duplicate", "contaminated")


@dataclass(frozen=True)
class Subject:
    """A sample, and what looking at its rows has shown."""

    sample: SampleRef
    contract: ContractSection
    report: SplitReport
    judged: Judged

    @property
    def name(self) -> str:
        return asset_name(self.sample.split)

    def broken(self, policies: Iterable[str]) -> dict[str, int]:
        """Rows in the file that break a rule with one of these policies, by rule, without rules that none breaks."""
        rows = {rule: found.rows for rule, found in self.judged.broken.items()}
        rows["too_long"] = self.report.samples[self.sample.split].truncated_rows
        # Which rows are nearly the same depends on the rows that come before: what was found then is what there is.
        warned = [broken for broken in self.report.violations if broken.policy == "warn"]
        rows |= {broken.rule: broken.rows for broken in warned if broken.rule == "near_duplicate"}
        rows |= {rule: found.rows for rule, found in self.judged.likeness.items()}
        for other, found in self.judged.others.items():
            # No policy allows training on what is evaluated with.
            if other != VALIDATION_SPLIT:
                rows |= {"leaked_id": found.ids.rows, "leaked_text": found.questions.rows}
        applicable = applicable_rules(self.sample.split, self.contract, against=bool(self.judged.others))
        wanted = [rule for rule in applicable if self.contract.policies.of(rule) in policies]
        return {rule: rows[rule] for rule in wanted if rows.get(rule)}


def subject_of(sample: SampleRef, contract: ContractSection, judged: Judged) -> Subject:
    """The sample with its report and what its rows are like."""
    return Subject(sample=sample, contract=contract, report=read_report(Path(sample.report)), judged=judged)


def schema_result(sample: SampleRef, findings: Findings) -> dg.AssetCheckResult:
    """Whether the files are those that the ref promises."""
    problems = findings.problems
    return _result(
        "schema",
        [f"{'; '.join(problems)}. Materialize {asset_name(sample.split)} again."] if problems else [],
        f"{sample.rows:,} rows in both files.",
        {"rows": sample.rows, "size_bytes": sample.size_bytes, "parquet": dg.MetadataValue.path(str(sample.parquet))},
    )


def minimum_rows_result(sample: SampleRef, contract: ContractSection) -> dg.AssetCheckResult:
    """Whether there are enough rows to work with."""
    minimum = contract.minimum_rows if sample.split == "train_sft" else 1
    problem = (
        f"{asset_name(sample.split)} has {sample.rows:,} of the {sample.rows_total:,} rows of its raw split, "
        f"at least {minimum:,} are needed. Raise sample.percent in the recipe, or lower contract.minimum_rows; "
        f"{sample.rows_quarantined:,} rows are in quarantine."
    )
    return _result(
        "minimum_rows",
        [problem] if sample.rows < minimum else [],
        f"{sample.rows:,} rows; the minimum is {minimum:,}.",
        {"rows": sample.rows, "rows_total": sample.rows_total, "minimum": minimum},
    )


def contract_result(subject: Subject) -> dg.AssetCheckResult:
    """Whether every row that is there may be, and few enough were left out."""
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
        if sampled != report.rows_quarantined + kept - report.rows_repeated:
            problems.append(
                f"Of {sampled:,} sampled rows {report.rows_quarantined:,} are in quarantine and {kept:,} were kept: "
                f"{subject.sample.report} and the files are of different runs. Materialize {subject.name} again."
            )
    return _result(
        "contract",
        problems,
        f"{subject.judged.rows:,} rows keep the contract; {percent:.2f} % of {sampled:,} sampled rows of "
        f"raw_{report.split} are in quarantine, {limit:g} % may be.",
        {
            "rows": subject.judged.rows,
            "rows_that_break_rules": sum(strict.values()),
            "rows_quarantined": report.rows_quarantined,
            "quarantined_percent": round(percent, 4),
            "max_quarantined_percent": limit,
            **_broken_examples(subject, strict),
        },
    )


def _quarantine_problems(subject: Subject, percent: float) -> list[str]:
    limit, report = subject.contract.max_quarantined_percent, subject.report
    if percent <= limit:
        return []
    reasons = {broken.rule: broken.rows for broken in report.violations if broken.rows and broken.policy == "drop"}
    return [
        f"{report.rows_quarantined:,} sampled rows, {percent:.2f} %, are in quarantine ({_listing(reasons)}), more "
        f"than contract.max_quarantined_percent ({limit:g}). Read {subject.sample.quarantine or 'the asset metadata'}: "
        "mend the data, change contract.policies, or raise the limit."
    ]


def leakage_result(subject: Subject) -> dg.AssetCheckResult:
    """Whether the sample shares rows with one that it is measured with, other than the recipe allows."""
    policies = subject.contract.policies
    judged = subject.judged
    problems, shown, numbers = [], [], {}
    for other, found in judged.others.items():
        held_out = other == VALIDATION_SPLIT
        ids = found.ids if held_out or policies.leaked_id != "warn" else Rows()
        questions = found.questions if held_out or policies.leaked_text != "warn" else Rows()
        shown += [ids, questions]
        numbers |= {f"{other}/ids": found.ids.rows, f"{other}/questions": found.questions.rows}
        if ids.rows or questions.rows:
            rows = found.rows if ids.rows and questions.rows else ids.rows + questions.rows
            problems.append(
                f"{rows:,} rows of {subject.name} are in {asset_name(other)} as well: {ids.rows:,} "
                f"by prompt_id, {questions.rows:,} by their question. A model that has seen them is measured too good: "
                f"materialize {asset_name('train_sft' if held_out else subject.sample.split)} again."
            )
    for rule, found in judged.likeness.items():
        if rule not in _LEAKS:
            continue
        numbers[rule] = found.rows
        if found.rows and policies.of(rule) != "warn":
            shown.append(found)
            problems.append(
                f"{found.rows:,} rows of {subject.name} break the rule {rule}: the file, or what it is compared with, "
                f"has changed since it was written: materialize {subject.name} again."
            )
    compared = " and ".join(map(asset_name, judged.others))
    return _result(
        "leakage",
        problems,
        f"{judged.shared:,} of {judged.rows:,} rows are in {compared} as well, which contract.policies allow."
        if judged.shared
        else f"No prompt_id and no question of {judged.rows:,} rows is in {compared}.",
        {"rows": judged.rows, **numbers, **examples_table(first_of(shown))},
    )


def truncated_share_result(sample: SampleRef, contract: ContractSection) -> dg.AssetCheckResult:
    """Whether few enough conversations are longer than the model's context."""
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


def no_warnings_result(subject: Subject) -> dg.AssetCheckResult:
    """Whether there is nothing that the recipe only warns about."""
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
            **_broken_examples(subject, warned),
        },
    )


def _result(name: str, problems: Sequence[str], fine: str, metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN if name in NOT_BLOCKING else dg.AssetCheckSeverity.ERROR,
        description="\n\n".join(problems) or fine,
        metadata=metadata,
    )


def examples_table(found: Sequence[Example]) -> dict[str, Any]:
    """Metadata that shows these rows, or nothing without any."""
    return {"examples": table([each.model_dump() for each in found])} if found else {}


def _broken_examples(subject: Subject, rules: Iterable[str]) -> dict[str, Any]:
    broken = subject.judged.broken
    return examples_table(first_of(broken[rule] for rule in rules if rule in broken))


def _listing(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} {count:,}" for rule, count in rows.items())


def asset_name(split: str) -> str:
    """The sample's asset, as people write it."""
    return f"sampled_{split}"
