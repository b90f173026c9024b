"""The cursor of the sensors: what was last asked for, and how long to wait before asking for the same again.

One sensor of a kind looks after all recipes, with a cursor for each: what goes wrong with one stops no other.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

FIRST_PAUSE_SECONDS = 10 * 60.0
LONGEST_PAUSE_SECONDS = 12 * 60 * 60.0

TICK_PATIENCE_SECONDS = 20.0
"""How long a tick retries during an outage; Dagster ends a tick after a minute, and the next one tries again anyway."""

REASON_TAG = "phi/reason"
"""Run tag that says what the sensor saw."""


class Cursor(BaseModel):
    """The last request and its pace. A `run_key` would not do: it is never used twice, even where its run failed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    evidence: str = ""
    """What the last run was requested for, for example a revision; empty where nothing is open."""
    requests: int = 0
    """Runs requested in a row for this evidence."""
    not_before: float = 0.0
    """Seconds since the epoch before which no further run is requested for it."""

    def allows(self, evidence: str) -> bool:
        """Whether a run may be requested for this evidence now."""
        return evidence != self.evidence or time.time() >= self.not_before

    def after_request(self, evidence: str) -> "Cursor":
        """The cursor once a run has been requested; each further one for the same evidence doubles the pause."""
        before = self.requests if evidence == self.evidence else 0
        pause = min(FIRST_PAUSE_SECONDS * 2**before, LONGEST_PAUSE_SECONDS)
        return Cursor(evidence=evidence, requests=before + 1, not_before=time.time() + pause)

    def after_recovery(self) -> "Cursor":
        """The cursor while all is well: the pace is kept until its pause is over, so that a flapping thing is slow."""
        return self if time.time() < self.not_before else Cursor()

    def skip(self, reason: str) -> "Outcome":
        """Nothing is requested."""
        return Outcome(self, reason)

    def request(
        self,
        assets: Sequence[dg.AssetKey],
        *,
        evidence: str,
        reason: str,
        run_config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> "Outcome":
        """The assets are asked for, unless it is too early to ask for them again."""
        if not self.allows(evidence):
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.not_before))
            return self.skip(
                f"{reason} {self.requests} run(s) have not put that right; the next one is not before {when}."
            )
        run = dg.RunRequest(
            asset_selection=list(assets), tags={**(tags or {}), REASON_TAG: reason}, run_config=run_config
        )
        return Outcome(self.after_request(evidence), reason, run)


@dataclass(frozen=True)
class Outcome:
    """What a look at one recipe has led to."""

    cursor: Cursor
    reason: str
    request: dg.RunRequest | None = None


_T = TypeVar("_T")

_Cursors = TypeAdapter(dict[str, Cursor])


def for_each(
    context: dg.SensorEvaluationContext, subjects: Mapping[str, _T], look: Callable[[_T, Cursor], Outcome]
) -> dg.SensorResult:
    """The result of a tick that has looked at every subject (recipe or data set), each with a cursor under its name.

    A subject whose look failed keeps its cursor, and the tick's log says why; the tick itself fails where all did.
    """
    cursors, outcomes, failures = _read(context), dict[str, Outcome](), list[Exception]()
    for name, subject in subjects.items():
        try:
            outcomes[name] = look(subject, cursors.get(name, Cursor()))
        except Exception as error:
            context.log.error(f"{name}: {getattr(error, 'description', None) or error}")
            failures.append(error)
    if failures and not outcomes:
        raise failures[0]
    requests = [outcome.request for outcome in outcomes.values() if outcome.request]
    said = [
        f"{name}: {outcome.reason}" if len(subjects) > 1 else outcome.reason
        for name, outcome in outcomes.items()
        if not outcome.request
    ]
    if requests:
        for line in said:
            context.log.info(line)
    kept = {name: cursor for name, cursor in cursors.items() if name in subjects}
    after = kept | {name: outcome.cursor for name, outcome in outcomes.items()}
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else "\n".join(said) or "No recipe is loaded.",
        cursor=_Cursors.dump_json(after).decode(),
    )


def _read(context: dg.SensorEvaluationContext) -> dict[str, Cursor]:
    """The cursors of the last tick; new ones, and a line in the tick's log, where they cannot be read."""
    if not context.cursor:
        return {}
    try:
        return _Cursors.validate_json(context.cursor)
    except ValidationError as error:
        context.log.warning(f"The cursor {context.cursor!r} cannot be read, so a new one begins: {error}")
        return {}
