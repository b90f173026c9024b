"""Whether a fine-tune has diverged, judged by what Azure ML's published component leaves behind.

It records a value only if that is a number, so a loss that is none is missing among the metrics, and stands in the
step's log alone: `FinetuneCallback.on_log` of the package azureml-acft-accelerator. The mean of losses none of which
was a number is recorded as 0: `logging_nan_inf_filter`, which is on by default, in
<https://huggingface.co/docs/transformers/main_classes/trainer#transformers.TrainingArguments>.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Protocol


class Point(Protocol):
    """A value that was recorded at a step of the training."""

    @property
    def value(self) -> float: ...
    @property
    def step(self) -> int: ...


Curves = Mapping[str, Sequence[Point]]
"""Metrics over the steps, by name."""

LOSS, EVALUATION_LOSS, LEARNING_RATE = "loss", "eval_loss", "learning_rate"

EVIDENCE = {LOSS: LEARNING_RATE, EVALUATION_LOSS: "eval_runtime"}
"""Each loss, and what is recorded together with it and always a number."""

_NO_NUMBER = re.compile(r"(?:\b|_)loss\b['\"]?\s*[=:]?\s*['\"]?-?(?:nan|inf|infinity)\b", re.IGNORECASE)
_ENDS = 10
"""The first and the last tenth of a curve are compared: single losses go up and down."""


def divergence(curves: Curves, last_values: Mapping[str, float], loss_lines: Sequence[str]) -> tuple[str, ...]:
    """What says that the training has diverged, a sentence each; empty where nothing does.

    Args:
        curves: losses, and the metrics of `EVIDENCE`.
        last_values: the last value of every metric.
        loss_lines: lines of the steps' logs that have a loss in them.
    """
    found = [_missing(curves, loss, evidence) for loss, evidence in EVIDENCE.items()]
    points = curves.get(LOSS, ())
    if points and points[-1].value == 0:
        first = next(number for number in range(len(points)) if all(point.value == 0 for point in points[number:]))
        found.append(
            f"The loss is 0 from step {points[first].step} on, which is what is recorded where none was a number."
        )
    infinite = sorted(name for name, value in last_values.items() if "loss" in name and not math.isfinite(value))
    if infinite:
        found.append(f"No finite number: {', '.join(f'{name} is {last_values[name]}' for name in infinite)}.")
    lines = [line for line in loss_lines if _NO_NUMBER.search(line)]
    if lines:
        found.append(f"Losses that are no numbers in the steps' logs: {len(lines)}, the first in {lines[0]:.200}")
    return tuple(text for text in found if text)


def are_proven(curves: Curves) -> bool:
    """Whether the curves alone show that each loss was a number: it was recorded whenever its evidence was."""
    recorded = {loss: evidence for loss, evidence in EVIDENCE.items() if curves.get(loss) or curves.get(evidence)}
    return LOSS in recorded and all(
        curves.get(evidence) and not _missing(curves, loss, evidence) for loss, evidence in recorded.items()
    )


def first_and_last(points: Sequence[Point]) -> tuple[float, float] | None:
    """Means of the first and of the last tenth of a curve; None for one of fewer than two points."""
    if len(points) < 2:
        return None
    count = max(1, len(points) // _ENDS)
    values = [point.value for point in points]
    return fmean(values[:count]), fmean(values[-count:])


def _missing(curves: Curves, loss: str, evidence: str) -> str:
    """Where the one was recorded and the other was not."""
    recorded = [point.step for point in curves.get(evidence, ())]
    missing = Counter(recorded) - Counter(point.step for point in curves.get(loss, ()))
    if not missing:
        return ""
    return (
        f"{loss} was not recorded at {missing.total()} of {len(recorded)} occasions (the first at step "
        f"{min(missing)}), though {evidence} was: it was no number there."
    )
