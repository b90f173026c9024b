"""Ending a job on purpose, and knowing that it has ended."""

import time

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import JobNotFound, JobTimeout
from phi_assets.azureml.connection.operations import Course, Voice
from phi_assets.azureml.connection.retry import Log, poll_delays, silent
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.ownership import Owner, Tags, maker_of
from phi_assets.azureml.training.lookup import find_new_job, get_job

ARRIVAL_SECONDS = 60.0
"""How long a submission that was interrupted may take to arrive."""
_CANCEL_TIMEOUT_SECONDS = 60 * 60.0


def of_others(tags: Tags, owner: Owner) -> str:
    """Why a job with these tags is not ended on the owner's behalf, as a clause about it; empty where it is."""
    return "" if owner.owns(tags) else f"was submitted by {maker_of(tags)}, for which it runs on"


def request_cancellation(ws: Workspace, name: str, log: Log = silent) -> JobStatus:
    """The service has been told to end the job, which is not waited for, or the job has ended before; its state then.

    Raises:
        JobNotFound: there is no such job.
        AzureError: the service refused to cancel it although it has not ended.
    """
    status = _status(ws, name, log)
    if status.is_terminal:
        log(f"Job {name} is already {status}; nothing to cancel.")
        return status
    log(f"Cancelling job {name} ({status}).")
    # The service refuses to cancel a job that has just ended, which is what was wanted.
    write(
        f"Cancellation of job {name}",
        look=lambda: _status(ws, name, log),
        send=lambda _: ws.ml.jobs.begin_cancel(name),
        is_done=lambda seen: seen is not None and (seen.is_terminal or seen is JobStatus.CANCEL_REQUESTED),
        log=log,
    )
    return status


def cancel_job(ws: Workspace, name: str, log: Log = silent) -> JobStatus:
    """The job has ended: cancelled now, or by itself before. Returns the state in which it settled.

    Raises:
        JobNotFound: there is no such job.
        JobTimeout: the service has not cancelled it within an hour.
        AzureError: the service refused to cancel it although it has not ended.
    """
    status = request_cancellation(ws, name, log)
    if status.is_terminal:
        return status
    watched = ws.watched(f"Job {name}", ws.studio_url(name))
    way_out = "cancel it there: it was told to stop, and may be billing"
    voice = Voice(Course(watched, JobTimeout, _CANCEL_TIMEOUT_SECONDS, way_out=way_out), log)
    delays = poll_delays()
    while not (status := _status(ws, name, log)).is_terminal:
        voice.say(status)
        time.sleep(next(delays))
    log(f"Job {name} is {status}.")
    return status


def cancel_if_submitted(ws: Workspace, name: str, log: Log = silent, *, owner: Owner | None = None) -> JobStatus | None:
    """The job has ended, also where its submission was still on the wire; None where it never came to be.

    None, too, where it is not the owner's (the project's, unless one is given): it runs on for those who have made it.

    Raises:
        JobTimeout: the service has not cancelled it within an hour.
        AzureError: the service refused to cancel it although it has not ended.
    """
    job = find_new_job(ws, name, log, ARRIVAL_SECONDS)
    if job is None:
        log(f"Job {name} was not submitted; nothing to cancel.")
        return None
    if theirs := of_others(job.tags, owner or ws.owner()):
        log(f"Job {name} {theirs}; it is not cancelled.")
        return None
    return cancel_job(ws, name, log)


def _status(ws: Workspace, name: str, log: Log) -> JobStatus:
    job = get_job(ws, name, log)
    if job is None:
        raise JobNotFound(f"There is no job {name} in workspace {ws.name}.")
    return JobStatus.of(job)
