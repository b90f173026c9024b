"""The cursor of the sensors: what was last asked for, and how long to wait before asking for the same again."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

FIRST_PAUSE_SECONDS = 10 * 60.0
LONGEST_PAUSE_SECONDS = 12 * 60 * 60.0

TICK_PATIENCE_SECONDS = 20.0
"""How long a tick sits out an outage; Dagster ends a tick after a minute, and the next one tries again anyway."""

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

    @classmethod
    def of(cls, context: dg.SensorEvaluationContext) -> "Cursor":
        """The cursor of the last tick; a new one, and a line in the tick's log, where that cannot be read."""
        if not context.cursor:
            return cls()
        try:
            return cls.model_validate_json(context.cursor)
        except ValidationError as error:
            context.log.warning(f"The cursor {context.cursor!r} cannot be read, so a new one begins: {error}")
            return cls()

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

    def skip(self, reason: str) -> dg.SensorResult:
        """The result of a tick that requests nothing."""
        return dg.SensorResult(skip_reason=reason, cursor=self.model_dump_json())

    def request(
        self, assets: Sequence[str], *, evidence: str, reason: str, run_config: Mapping[str, Any] | None = None
    ) -> dg.SensorResult:
        """The result of a tick that asks for the assets, or says that it is too early to ask for them again."""
        if not self.allows(evidence):
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.not_before))
            return self.skip(
                f"{reason} {self.requests} run(s) have not put that right; the next one is not before {when}."
            )
        run = dg.RunRequest(
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
            tags={REASON_TAG: reason},
            run_config=run_config,
        )
        return dg.SensorResult(run_requests=[run], cursor=self.after_request(evidence).model_dump_json())
