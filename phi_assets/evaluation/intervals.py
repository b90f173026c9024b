"""How far a mean may be from the truth, given how few answers it was taken over."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

CONFIDENCE = 0.95
FEWEST = 6
"""Five coins fall on the same side in more than 5 % of the cases: fewer values than six prove nothing."""

_RESAMPLES = 9_999
_BATCH = 500
"""Resamples drawn at a time: a thousand answers would otherwise take 80 MB."""


class Interval(BaseModel):
    """A mean, and between what it lies with 95 % confidence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    low: float | None
    """None, as `high`, where a single value says nothing about how much values vary."""
    high: float | None
    count: int

    @property
    def is_above_zero(self) -> bool:
        """More than chance: all of the interval is above zero, and it is of enough values."""
        return self.count >= FEWEST and self.low is not None and self.low > 0

    @property
    def is_below_zero(self) -> bool:
        """More than chance: all of the interval is below zero, and it is of enough values."""
        return self.count >= FEWEST and self.high is not None and self.high < 0

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.mean:.1f} (one answer)"
        return f"{self.mean:.1f} ({self.low:.1f} to {self.high:.1f})"


def mean_interval(values: Sequence[float], seed: int) -> Interval | None:
    """The mean with its bootstrap interval, the same for the same values and seed; None where there is no value."""
    if not values:
        return None
    mean = sum(values) / len(values)
    if len(values) == 1:
        return Interval(mean=mean, low=None, high=None, count=1)
    if min(values) == max(values):
        return Interval(mean=values[0], low=values[0], high=values[0], count=len(values))

    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean=mean, low=float(found.low), high=float(found.high), count=len(values))


def paired_difference(new: Sequence[float], old: Sequence[float], seed: int) -> Interval | None:
    """How much higher the new values are than the old ones of the same questions, on average, with its interval.

    Raises:
        ValueError: there is not exactly one old value for each new one.
    """
    return mean_interval([one - other for one, other in zip(new, old, strict=True)], seed)
