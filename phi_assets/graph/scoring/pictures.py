"""Pictures of a scored model: how good its answers are beside those of others, and how long they took."""

from collections.abc import Mapping, Sequence
from typing import Any

from phi_assets.evaluation.intervals import Interval
from phi_assets.evaluation.report import ScoringReport, Speed
from phi_assets.graph.rendering import as_markdown, new_figure

_THIS, _OTHER, _LIMIT = "#4f6bed", "#8a8a8a", "#d1495b"

_Line = tuple[str, Interval | None, Interval | None, list[float | None]]
"""Which model, its mean chrF, how much better this model is, and the chrF of its answers."""

_SPREAD = 0.18
"""How far dots of one row are moved apart, so that equal ones can be seen."""


def quality_picture(report: ScoringReport, rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of one PNG: chrF of every answer as dots, one line for each model, with mean and interval.

    The other models' names say how much better this one is, question by question.
    """
    lines: list[_Line] = [("this model", report.figures.chrf, None, [row["chrf"] for row in rows])]
    if report.base:
        of_base = [row["base_chrf"] for row in rows]
        lines.append(("base model", report.base.figures.chrf, report.base.chrf_gain, of_base))
    if report.champion:
        lines.append(("champion", report.champion.figures.chrf, report.champion.chrf_gain, []))
    labels = [_label(name, interval, gain) for name, interval, gain, _ in lines]
    figure, axes = new_figure(max(len(line) for label in labels for line in label.splitlines()), label=False)
    for place, (_, interval, gain, scores) in enumerate(lines):
        color = _THIS if gain is None else _OTHER
        known = [score for score in scores if score is not None]
        heights = [place + _SPREAD * (number % 3 - 1) for number in range(len(known))]
        axes.plot(known, heights, "o", color=color, alpha=0.35, markersize=4)
        if interval is not None:
            low, high = _ends(interval)
            axes.plot([low, high], [place, place], color=color, linewidth=3)
            axes.plot([interval.mean], [place], "D", color=color, markersize=7)
    axes.set_yticks(range(len(lines)), labels)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("chrF against the reference; bar: 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    return as_markdown(figure, "quality of the answers")


def latency_picture(speed: Speed, latencies: Sequence[float]) -> str:
    """Markdown of one PNG: share of the answers that had come after so many milliseconds, with p50, p95 and p99."""
    figure, axes = new_figure(3, title=True)
    axes.ecdf(latencies, color=_THIS, linewidth=2.5)
    for name, value in (("p50", speed.latency_ms_p50), ("p95", speed.latency_ms_p95), ("p99", speed.latency_ms_p99)):
        axes.axvline(value, color=_LIMIT, linestyle="--", linewidth=1)
        axes.annotate(name, (value, 0.02), color=_LIMIT, fontsize=8, rotation=90, ha="right", va="bottom")
    axes.set_title(
        f"p50 {speed.latency_ms_p50:,.0f} ms, p95 {speed.latency_ms_p95:,.0f} ms, p99 {speed.latency_ms_p99:,.0f} ms, "
        f"{speed.requests_per_second:g} requests/s, {speed.tokens_per_second:g} tokens/s",
        fontsize=10,
    )
    axes.set_xlabel(f"latency in ms, {speed.concurrency} at a time")
    axes.set_ylabel("share of the answers")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    return as_markdown(figure, "latency of the answers")


def _ends(interval: Interval) -> tuple[float, float]:
    if interval.low is None or interval.high is None:
        return interval.mean, interval.mean
    return interval.low, interval.high


def _label(name: str, interval: Interval | None, gain: Interval | None) -> str:
    if interval is None:
        return name
    return f"{name}\n{interval.mean:.1f}" + (f", this one {gain.mean:+.1f}" if gain else "")
