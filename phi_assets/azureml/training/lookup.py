"""Looking a job up by its name."""

import time
from datetime import UTC, datetime
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, find, poll_delays, silent

APPEARANCE_SECONDS = 10.0


def get_job(ws: Workspace, name: str, log: Log = silent) -> Any:
    """The job as the service has it now, or None if there is none; outages are retried with back-off, for minutes."""
    return find(lambda: ws.ml.jobs.get(name), f"job {name}", log)


def find_new_job(ws: Workspace, name: str, log: Log = silent, seconds: float = APPEARANCE_SECONDS) -> Any:
    """The job, which gets some seconds to appear: its submission may be on the wire still. None where it does not."""
    deadline = time.monotonic() + seconds
    delays = poll_delays()
    while (job := get_job(ws, name, log)) is None and time.monotonic() < deadline:
        time.sleep(next(delays))
    return job


def created_at(job: Any) -> datetime | None:
    """When the service took the job, in UTC; None where it does not say."""
    created = getattr(getattr(job, "creation_context", None), "created_at", None)
    return in_utc(created) if isinstance(created, datetime) else None


def in_utc(moment: datetime) -> datetime:
    """The moment with its zone: one without is UTC, in which the service speaks."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
