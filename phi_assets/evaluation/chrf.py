"""Likeness of an answer to the reference answer: chrF, by sacrebleu."""

from collections.abc import Sequence
from functools import lru_cache

_KEPT = 4_096
"""Scores: each answer's is asked for when it is shown, counted, and compared with those of others."""


def chrf(answers: Sequence[str], references: Sequence[str]) -> list[float | None]:
    """chrF2 of each answer, 0 to 100: shared sequences of up to six characters; None where there is no reference.

    Popović, chrF: character n-gram F-score for automatic MT evaluation, 2015.

    Raises:
        ValueError: there is not exactly one reference for each answer; it may be empty.
    """
    return [
        _score(answer, reference) if reference.strip() else None
        for answer, reference in zip(answers, references, strict=True)
    ]


@lru_cache(_KEPT)
def _score(answer: str, reference: str) -> float:
    from sacrebleu.metrics.chrf import CHRF

    return round(CHRF().sentence_score(answer, [reference]).score, 3)
