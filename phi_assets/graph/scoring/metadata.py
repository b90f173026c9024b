"""What the live model answers, how good that is and how fast it came, for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from phi_assets.changes import in_short
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.evaluation.answers import Failure, kept_answers
from phi_assets.evaluation.intervals import Interval
from phi_assets.evaluation.report import Comparison, Figures, ScoringReport, read_scoring_report
from phi_assets.graph.presentation import rounded
from phi_assets.graph.rendering import table
from phi_assets.graph.scoring.pictures import latency_picture, quality_picture
from phi_assets.graph.serving.champion import IS_CHAMPION, MODEL, ROWS
from phi_assets.refs import AnswersRef, ScoringRef

_SHOWN, _SHOWN_CHARACTERS = 20, 400
"""Rows of a table and characters of a cell: they are stored in the event log."""

SCORING_NUMBERS = (
    "chrf",
    "champion/chrf_gain",
    "base/chrf_gain",
    "dagster/row_count",
    "failed_prompts",
    "latency_ms_p95",
)
"""What a person asks of a scored model."""

_SPEED = (
    "latency_ms_mean",
    "latency_ms_p50",
    "latency_ms_p95",
    "latency_ms_p99",
    "latency_ms_max",
    "requests_per_second",
    "concurrency",
    "tokens",
    "tokens_per_second",
    "token_counter",
)


def base_metadata(ref: AnswersRef) -> dict[str, Any]:
    """Which model was asked, and where its answers are."""
    metadata: dict[str, Any] = {
        "action": ref.action,
        "dagster/row_count": ref.rows,
        "model_version": in_short(ref.model_id),
        "model": ref.model_id,
    }
    if not ref.path:
        return metadata
    metadata |= {"failed_prompts": ref.failed, "left_out_prompts": ref.left_out}
    given = kept_answers(Path(ref.path))
    if given is not None and given.failures:
        pairs = zip(given.asked, given.answers, strict=True)
        metadata["failures"] = table(
            [{"question": asked, "reason": each.reason} for asked, each in pairs if isinstance(each, Failure)][:_SHOWN]
        )
        metadata["container_log"] = _log(given.container_log)
    return metadata | {"json": dg.MetadataValue.path(str(ref.path))}


def scoring_metadata(ref: ScoringRef) -> dict[str, Any]:
    """Answers beside their references, the models compared, pictures, and numbers under keys that stay.

    Figures are over the prompts that were answered: `dagster/row_count` less `failed_prompts`; `left_out_prompts` were
    too long to be asked.

    Numbers: `chrf` (0 to 100) with `chrf_low` and `chrf_high`, `length_ratio`, `empty_rate`, `refusal_rate`,
    `problem_rate`, `repetition`, `latency_ms_*`, `requests_per_second`, `tokens_per_second`; `base/...` and
    `champion/...` have `chrf` of the other model and `chrf_gain` over it, whose intervals are in the table.

    Raises:
        OSError: the report has gone that was written beside the answers.
    """
    report, rows = read_scoring_report(Path(ref.report)), list(read_jsonl(Path(ref.jsonl)))
    with_base = any(row["base_answer"] is not None for row in rows)
    return {
        "action": ref.action,
        "dagster/row_count": ref.rows,
        "model_version": in_short(ref.model_id),
        MODEL: ref.model_id,
        "deployment": ref.deployment,
        "compared": table(_compared(report)),
        "quality": dg.MetadataValue.md(quality_picture(report, rows)),
        "latency": dg.MetadataValue.md(
            latency_picture(report.speed, [row["latency_ms"] for row in rows if not row["failure"]])
        ),
        "answers": table([_shown(row, with_base=with_base) for row in _failed_first(rows)[:_SHOWN]]),
        **scoring_numbers(report),
        "empty_answers": sum(row["is_empty"] for row in rows),
        "failed_prompts": report.failed,
        "left_out_prompts": report.left_out,
        **({"container_log": _log(report.container_log)} if report.container_log else {}),
        IS_CHAMPION: report.is_champion,
        "champion_note": report.champion_note,
        ROWS: dg.MetadataValue.path(str(ref.jsonl)),
        "parquet": dg.MetadataValue.path(str(ref.parquet)),
        "report": dg.MetadataValue.path(str(ref.report)),
    }


def scoring_numbers(report: ScoringReport) -> dict[str, Any]:
    """What the UI plots over time, without what could not be measured."""
    numbers = _figures(report.figures)
    for name, other in (("base", report.base), ("champion", report.champion)):
        if other is not None:
            # In the order of the alphabet, in which the UI plots them, their intervals would fill the screen.
            found = comparison_numbers(other)
            numbers |= {f"{name}/{key}": found[key] for key in ("chrf", "chrf_gain") if key in found}
    # A setting is no number to plot.
    return numbers | report.speed.model_dump(include=set(_SPEED)) | {"concurrency": str(report.speed.concurrency)}


def comparison_numbers(other: Comparison) -> dict[str, float]:
    """How good the other model is, and how much better this one."""
    return _interval("chrf", other.figures.chrf) | _interval("chrf_gain", other.chrf_gain)


def _figures(figures: Figures) -> dict[str, Any]:
    rates = figures.model_dump(exclude={"answers", "chrf"}, exclude_none=True)
    return _interval("chrf", figures.chrf) | rates


def _interval(name: str, interval: Interval | None) -> dict[str, float]:
    if interval is None:
        return {}
    values = {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: rounded(value) for key, value in values.items() if value is not None}


def _compared(report: ScoringReport) -> list[dict[str, str]]:
    rows = [_compared_row("this model", report.model_id, report.figures, None, failed=report.failed)]
    others: Sequence[tuple[str, Comparison | None]] = (("base model", report.base), ("champion", report.champion))
    rows += [_compared_row(who, other.model_id, other.figures, other) for who, other in others if other is not None]
    return rows


def _compared_row(
    who: str, model_id: str, figures: Figures, other: Comparison | None, failed: int = 0
) -> dict[str, str]:
    return {
        "who": who,
        "this model is better by": str((other and other.chrf_gain) or "-"),
        "chrF, 95 % interval": str(figures.chrf or "-"),
        "answers": f"{figures.answers} of {figures.answers + failed}" if failed else str(figures.answers),
        "length / reference": "-" if figures.length_ratio is None else f"{figures.length_ratio:.2f}",
        "empty": f"{figures.empty_rate:.0%}",
        "refusals": f"{figures.refusal_rate:.0%}",
        "no answers": f"{figures.problem_rate:.0%}",
        "repetition": f"{figures.repetition:.1%}",
        "model": in_short(model_id),
    }


def _shown(row: Mapping[str, Any], *, with_base: bool) -> dict[str, Any]:
    texts = {"prompt": row["prompt"], "answer": row["answer"], "reference": row["reference"]}
    if with_base:
        texts["base model"] = row["base_answer"]
    return {
        "chrF": "-" if row["chrf"] is None else f"{row['chrf']:.0f}",
        **{name: "-" if text is None else _cut(text) for name, text in texts.items()},
        "ms": "-" if row["latency_ms"] is None else f"{row['latency_ms']:.0f}",
        "problem": _cut(row["failure"] or row["problem"] or "-"),
    }


def _failed_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nobody should have to look for them."""
    return sorted(rows, key=lambda row: row["failure"] is None)


def _log(lines: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"```\n{lines}\n```")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters)"
