"""Looking a job up by its name."""

import time
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.retry import Log, poll_delays, ride_out, silent

_APPEARANCE_SECONDS = 10.0


def get_job(ws: Workspace, name: str, log: Log = silent) -> Any:
    """The job as the service has it now, or None if there is none; outages of minutes are sat out."""

    def get() -> Any:
        try:
            return ws.ml.jobs.get(name)
        except ResourceNotFoundError:
            return None

    return ride_out(get, f"job {name}", log)


def find_new_job(ws: Workspace, name: str, log: Log = silent) -> Any:
    """The job, which gets 10 s to appear: its submission may be on the wire still. None where it does not."""
    deadline = time.monotonic() + _APPEARANCE_SECONDS
    delays = poll_delays()
    while (job := get_job(ws, name, log)) is None and time.monotonic() < deadline:
        time.sleep(next(delays))
    return job
