"""Answers in figures: how like their references they are, how long, and how many are none."""

from collections.abc import Iterable, Sequence
from statistics import fmean, median

from phi_assets.evaluation.chrf import chrf
from phi_assets.evaluation.intervals import mean_interval
from phi_assets.evaluation.quality import answer_problem, is_empty, is_refusal, repetition
from phi_assets.evaluation.report import Figures


def answer_figures(answers: Sequence[str], references: Sequence[str], seed: int) -> Figures:
    """The answers in sum; there is at least one, and a reference is empty where there is none."""
    likeness = [score for score in chrf(answers, references) if score is not None]
    ratios = [ratio for ratio in map(length_ratio, answers, references) if ratio is not None]
    return Figures(
        answers=len(answers),
        chrf=mean_interval(likeness, seed),
        length_ratio=round(median(ratios), 3) if ratios else None,
        empty_rate=_share(map(is_empty, answers)),
        refusal_rate=_share(map(is_refusal, answers)),
        problem_rate=_share(answer_problem(answer) is not None for answer in answers),
        repetition=round(fmean(map(repetition, answers)), 4),
    )


def length_ratio(answer: str, reference: str) -> float | None:
    """Characters of the answer over those of its reference; None where there is no reference."""
    return round(len(answer.strip()) / len(reference.strip()), 3) if reference.strip() else None


def _share(found: Iterable[bool]) -> float:
    return round(fmean(found), 4)
