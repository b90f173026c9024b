"""Waiting for a job: one loop that reports what happens and ends only when the service says so."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.errors import JobNotFound, JobTimeout
from phi_assets.azureml.history import Run, RunHistory
from phi_assets.azureml.retry import Log, poll_delays, ride_out, silent
from phi_assets.azureml.status import JobStatus, service_text

_HEARTBEAT_SECONDS = 300.0
_CANCEL_TIMEOUT_SECONDS = 60 * 60.0
_STEP_LOG = re.compile(r"^user_logs/std_log[\D]*[0]*(?:_ps)?\.txt$")
LOSS_LINE = re.compile(rb"(?:\b|_)loss\b['\"]?\s*[=:]?\s*-?(?:\d|nan|inf)", re.IGNORECASE)


@dataclass
class _Watch:
    """What has been reported about a job so far."""

    job_status: JobStatus | None = None
    step_status: dict[str, JobStatus] = field(default_factory=dict)
    leaves: set[str] = field(default_factory=set)
    """Runs below which there is nothing to look at any more."""
    log_offset: dict[str, int] = field(default_factory=dict)
    started_at: datetime | None = None
    warned: set[str] = field(default_factory=set)
    last_line: float = field(default_factory=time.monotonic)


def get_job(ws: Workspace, name: str, log: Log = silent) -> Any:
    """The job as the service has it now, or None if there is none; outages of minutes are sat out."""

    def get() -> Any:
        try:
            return ws.ml.jobs.get(name)
        except ResourceNotFoundError:
            return None

    return ride_out(get, f"job {name}", log)


def wait_for_job(ws: Workspace, name: str, timeout: timedelta, log: Log = silent) -> Any:
    """The job once it is Completed, Failed or Canceled, whatever it goes through before.

    Only these three end a job: `CancelRequested`, `NotResponding`, `Paused` and states that nobody knows are waited
    out. The time limit counts from the job's start of running, as run history has it, so waiting for capacity does
    not use it up and attaching later does not extend it.

    Raises:
        JobNotFound: the job has been deleted.
        JobTimeout: the time is over; the job has been cancelled.
    """
    history = RunHistory(ws, log)
    watch = _Watch()
    delays = poll_delays()
    while True:
        job = get_job(ws, name, log)
        if job is None:
            raise JobNotFound(f"Job {name} has been deleted while it was waited for. Run again to submit it anew.")
        status = JobStatus.of(job)
        _report(watch, history, name, service_text(job.status), log)
        if status.is_terminal:
            return job
        if _is_over(watch, history, name, status, timeout):
            cancel_job(ws, name, log)
            raise JobTimeout(
                f"Job {name} ran for more than {timeout} and has been cancelled. Raise `finetune.timeout_hours`, use a "
                "larger VM size, or train on less.",
                studio_url=ws.studio_url(job),
            )
        time.sleep(next(delays))


def cancel_job(ws: Workspace, name: str, log: Log = silent) -> JobStatus:
    """The job has ended: cancelled now, or by itself before. Returns the state in which it settled.

    Raises:
        JobNotFound: there is no such job.
        JobTimeout: the service has not cancelled it within an hour.
    """
    job = _existing(ws, name, log)
    status = JobStatus.of(job)
    if status.is_terminal:
        log(f"Job {name} is already {status}; nothing to cancel.")
        return status
    if status is not JobStatus.CANCEL_REQUESTED:
        log(f"Cancelling job {name} ({status}).")
        _request_cancel(ws, name, log)
    deadline = time.monotonic() + _CANCEL_TIMEOUT_SECONDS
    delays = poll_delays()
    while True:
        job = _existing(ws, name, log)
        status = JobStatus.of(job)
        if status.is_terminal:
            log(f"Job {name} is {status}.")
            return status
        if time.monotonic() > deadline:
            raise JobTimeout(
                f"Job {name} is still {status} an hour after it was told to stop, and may be billing. Cancel it in "
                "Studio.",
                studio_url=ws.studio_url(job),
            )
        time.sleep(next(delays))


def _request_cancel(ws: Workspace, name: str, log: Log) -> None:
    try:
        ride_out(lambda: ws.ml.jobs.begin_cancel(name), f"cancel of {name}", log)
    except HttpResponseError:
        # The service refuses to cancel a job that has just ended, which is what was wanted.
        if not JobStatus.of(_existing(ws, name, log)).is_terminal:
            raise


def _existing(ws: Workspace, name: str, log: Log) -> Any:
    job = get_job(ws, name, log)
    if job is None:
        raise JobNotFound(f"There is no job {name} in workspace {ws.name}.")
    return job


def _report(watch: _Watch, history: RunHistory, name: str, service_status: str, log: Log) -> None:
    status = JobStatus(service_status)

    def say(line: str) -> None:
        log(line)
        watch.last_line = time.monotonic()

    if status is not watch.job_status:
        say(f"Job {name}: {status}" if watch.job_status is None else f"Job {name}: {watch.job_status} -> {status}")
        watch.job_status = status
    if status is JobStatus.UNKNOWN and service_status not in watch.warned:
        watch.warned.add(service_status)
        say(f"Job {name} is in state {service_status!r}, which is not a known one; waiting for a known one.")
    if status in (JobStatus.NOT_RESPONDING, JobStatus.PAUSED) and status not in watch.warned:
        watch.warned.add(status)
        say(f"Job {name} is {status}; jobs come back from that, so it is waited for.")
    _report_steps(watch, history, name, say)
    if time.monotonic() - watch.last_line > _HEARTBEAT_SECONDS:
        say(f"Job {name} is still {status}.")


def _report_steps(watch: _Watch, history: RunHistory, parent: str, say: Callable[[str], None]) -> None:
    steps = history.children(parent)
    if not steps and watch.step_status.get(parent, JobStatus.UNKNOWN).has_started:
        watch.leaves.add(parent)
    for step in steps:
        _report_step(watch, history, step, say)
        if step.run_id not in watch.leaves:
            # Whatever is below a run that has ended has been reported after this.
            if step.job_status.is_terminal:
                watch.leaves.add(step.run_id)
            _report_steps(watch, history, step.run_id, say)


def _report_step(watch: _Watch, history: RunHistory, step: Run, say: Callable[[str], None]) -> None:
    before, now = watch.step_status.get(step.run_id), step.job_status
    if before is not now:
        say(f"  {step.label}: {now}" if before is None else f"  {step.label}: {before} -> {now}")
        watch.step_status[step.run_id] = now
    ended_since = now.is_terminal and (before is None or before.is_active)
    if now.has_started or ended_since:
        for line in _new_loss_lines(watch, history, step):
            say(f"  {step.label} | {line}")


def _new_loss_lines(watch: _Watch, history: RunHistory, step: Run) -> list[str]:
    """Complete lines about the loss that were written since the last look."""
    logs = history.details(step.run_id).log_files or {}
    url = next((url for log_name, url in sorted(logs.items()) if _STEP_LOG.match(log_name)), None)
    if url is None:
        return []
    offset = watch.log_offset.get(step.run_id, 0)
    new = history.log_tail(url, offset)
    complete = new.rfind(b"\n") + 1
    watch.log_offset[step.run_id] = offset + complete
    # Progress bars rewrite their line with carriage returns.
    lines = (line.rsplit(b"\r", 1)[-1] for line in new[:complete].splitlines())
    return [line.decode("utf-8", "replace").strip() for line in lines if LOSS_LINE.search(line)]


def _is_over(watch: _Watch, history: RunHistory, name: str, status: JobStatus, timeout: timedelta) -> bool:
    if watch.started_at is None and status.has_started:
        started = history.details(name).start_time_utc or datetime.now(UTC)
        watch.started_at = started if started.tzinfo else started.replace(tzinfo=UTC)
    return watch.started_at is not None and datetime.now(UTC) - watch.started_at > timeout
