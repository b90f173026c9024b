"""What is known about a scored model: its answers in figures, how fast it gave them, and how others compare."""

from math import ceil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from phi_assets.evaluation.intervals import FEWEST, Interval

Verdict = Literal["better", "not worse", "worse", "unclear"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figures(_Part):
    """Answers to some questions, in sum. Rates and shares are between 0 and 1."""

    answers: int
    chrf: Interval | None
    """0 to 100, of the answers that have a reference; None where none has one."""
    length_ratio: float | None
    """Median of the answers' lengths in characters over those of their references."""
    empty_rate: float
    refusal_rate: float
    problem_rate: float
    """Texts that cannot be the answer to any question; empty ones are among them."""
    repetition: float
    """Mean share of sequences of four words that the same answer has used before."""


class Speed(_Part):
    """How fast the answers came."""

    latency_ms_mean: float
    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_p99: float
    latency_ms_max: float
    seconds: float
    """From the first request to the last answer."""
    concurrency: int
    """Requests that were underway at a time."""
    requests_per_second: float
    tokens: int
    """Of all answers."""
    tokens_per_second: float
    token_counter: str
    """How tokens were counted, for example `estimated, 0.214 tokens a byte`."""


class Comparison(_Part):
    """Another model's answers to the same questions."""

    model_id: str
    figures: Figures
    """Of the other model, over the questions that both have answered."""
    chrf_gain: Interval | None
    """How much higher the chrF of this model is, question by question; None where no question has a reference."""

    @property
    def is_better(self) -> bool:
        """The model is better than the other beyond the interval."""
        return self.chrf_gain is not None and self.chrf_gain.is_above_zero

    @property
    def is_worse(self) -> bool:
        """The model is worse than the other beyond the interval."""
        return self.chrf_gain is not None and self.chrf_gain.is_below_zero

    def verdict(self, margin: float) -> Verdict:
        """Whether the model may be `margin` points of chrF below the other, and not more; as far as that is known."""
        gain = self.chrf_gain
        if gain is None or gain.low is None or gain.high is None or gain.count < FEWEST:
            return "unclear"
        if gain.high < -margin:
            return "worse"
        if gain.low < -margin:
            return "unclear"
        return "better" if gain.is_above_zero else "not worse"

    def answers_needed(self, margin: float) -> int | None:
        """How many answers would tell, if they differ as these do; None where no number would."""
        gain = self.chrf_gain
        if gain is None or gain.low is None or gain.high is None or not (distance := abs(gain.mean + margin)):
            return None
        return max(ceil(gain.count * ((gain.high - gain.low) / 2 / distance) ** 2), FEWEST)

    def in_words(self, margin: float) -> str:
        """The verdict with its figures, and how many answers would do where it cannot be told."""
        differs = f"chrF differs by {self.chrf_gain} on {self.figures.answers} questions"
        verdict = self.verdict(margin)
        if verdict != "unclear":
            return f"{differs}: {verdict}{'' if verdict == 'better' else f' by more than {margin:g}'}."
        needed = self.answers_needed(margin)
        enough = f"; about {needed:,} would do (`scoring.samples`)" if needed and needed > self.figures.answers else ""
        few = f"{self.figures.answers} answers cannot tell whether that is worse by more than {margin:g}"
        return f"{differs}: {few}{enough}."


class ScoringReport(_Part):
    """A scored model."""

    model_id: str
    figures: Figures
    """Over the questions that were answered."""
    speed: Speed
    """Of the same."""
    failed: int = 0
    """Questions that the model failed at."""
    left_out: int = 0
    """Questions that were not asked, since they leave no room for an answer in the model's context."""
    container_log: str = ""
    """The last lines that the model's container had written, where it failed at some."""
    base: Comparison | None = None
    """None where the recipe does not ask for the base model."""
    champion: Comparison | None = None
    """None where there is none; `champion_note` says why."""
    champion_note: str = ""
    champion_unknown: bool = False
    """There is a champion, and nothing to compare it by; this model is the next one all the same."""
    margin: float = 0.0
    """Points of chrF that the model may be below the champion."""

    @property
    def is_champion(self) -> bool:
        """Whether the next model has to live up to this one: it is not worse than the champion, and not below it.

        A model that is within the margin below it may serve. The champion stays the best that was seen, or many small
        losses would add up.
        """
        other = self.champion
        if other is None or other.chrf_gain is None:
            return True
        return other.verdict(self.margin) in ("better", "not worse") and other.chrf_gain.mean >= 0

    @property
    def looks_worse(self) -> bool:
        """The answers say that the model is further below the champion than the margin, proven or not."""
        other = self.champion
        return other is not None and other.chrf_gain is not None and other.chrf_gain.mean < -self.margin


def read_scoring_report(path: Path) -> ScoringReport:
    """The report that was written beside the answers."""
    return ScoringReport.model_validate_json(path.read_bytes())
