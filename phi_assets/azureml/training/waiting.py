"""Waiting for a job: one loop that reports what happens and ends only when the service says so."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import JobNotFound, JobTimeout
from phi_assets.azureml.connection.retry import Log, one_line, poll_delays, silent
from phi_assets.azureml.connection.status import JobStatus, service_text
from phi_assets.azureml.training.cancelling import cancel_job
from phi_assets.azureml.training.history import UNREADABLE, Run, RunHistory
from phi_assets.azureml.training.logs import StepLogs
from phi_assets.azureml.training.lookup import find_new_job, get_job

OnPoll = Callable[[], None]

_HEARTBEAT_SECONDS = 300.0
_REPORT_PATIENCE_SECONDS = 30.0


def wait_for_job(
    ws: Workspace,
    name: str,
    timeout: timedelta,
    log: Log = silent,
    output: Log | None = None,
    on_poll: OnPoll | None = None,
) -> Any:
    """The job once it is Completed, Failed or Canceled, whatever it goes through before.

    Only these three end a job: `CancelRequested`, `NotResponding`, `Paused` and states that nobody knows are waited
    out. The time limit counts from the start of the job's first step, as run history has it, so waiting for capacity
    before that does not use it up and attaching later does not extend it. `log` receives transitions of the job and
    its steps, a heartbeat and lines about the loss; `output` every line that the steps write. `on_poll` is called
    before each further look, and may raise.

    Raises:
        JobNotFound: the job has been deleted.
        JobTimeout: the time is over; the job has been cancelled.
    """
    watch = _Watch(ws, name, log, output)
    delays = poll_delays()
    while True:
        job = get_job(ws, name, log) or find_new_job(ws, name, log)
        if job is None:
            raise JobNotFound(f"Job {name} has been deleted while it was waited for. Run again to submit it anew.")
        watch.report(job)
        if JobStatus.of(job).is_terminal:
            return job
        if watch.runs_longer_than(timeout):
            return _end(ws, job, timeout, log)
        time.sleep(next(delays))
        if on_poll is not None:
            on_poll()


def _end(ws: Workspace, job: Any, timeout: timedelta, log: Log) -> Any:
    if cancel_job(ws, job.name, log) is JobStatus.COMPLETED:
        # It was quicker.
        return get_job(ws, job.name, log)
    raise JobTimeout(
        f"Job {job.name} ran for more than {timeout} and has been cancelled. Raise `finetune.timeout_hours`, use a "
        "larger VM size, or train on less.",
        studio_url=ws.studio_url(job),
    )


class _Watch:
    """Looks at one job again and again, and reports what is new."""

    def __init__(self, ws: Workspace, name: str, log: Log, output: Log | None) -> None:
        self._name = name
        self._log = log
        self._history = RunHistory(ws, log, _REPORT_PATIENCE_SECONDS)
        self._logs = StepLogs(self._history, self._say, output)
        self._status: JobStatus | None = None
        self._steps: dict[str, Run] = {}
        self._leaves: set[str] = set()
        """Runs below which there is nothing to look at any more."""
        self._started_at: datetime | None = None
        self._warned: set[str] = set()
        self._last_line = time.monotonic()

    def report(self, job: Any) -> None:
        """Says what has changed since the last look, in the job, in its steps and in their logs."""
        text = service_text(job.status)
        status, before = JobStatus(text), self._status
        self._status = status
        if status is not before:
            self._say(f"Job {self._name}: {status}" if before is None else f"Job {self._name}: {before} -> {status}")
        if status is JobStatus.UNKNOWN:
            self._warn(text, f"Job {self._name} is in state {text!r}, which is not a known one; it is waited for.")
        elif status in (JobStatus.NOT_RESPONDING, JobStatus.PAUSED):
            self._warn(text, f"Job {self._name} is {status}; jobs come back from that, so it is waited for.")
        try:
            self._report_steps(self._name)
            if status.is_terminal:
                for step in self._steps.values():
                    self._logs.read(step, to_end=True, flush=True)
        except UNREADABLE as error:
            # Nothing of this decides about the job.
            self._warn(f"{type(error)}", f"Steps of job {self._name} cannot be read ({one_line(error)}).")
        if time.monotonic() - self._last_line > _HEARTBEAT_SECONDS:
            self._say(f"Job {self._name} is still {status}.")

    def runs_longer_than(self, timeout: timedelta) -> bool:
        """Whether the job began to run longer ago than that, by the service's clock where it tells."""
        if self._started_at is None and self._status is not None and self._status.may_have_started:
            self._started_at = self._first_step_start() if self._steps else self._job_start(self._status)
        return self._started_at is not None and datetime.now(UTC) - self._started_at > timeout

    def _first_step_start(self) -> datetime | None:
        """When the first step got its node. A pipeline job is Running before, while its steps wait for capacity."""
        leaves = [step for run_id, step in self._steps.items() if run_id in self._leaves]
        starts = [_in_utc(step.start_time_utc) for step in leaves if step.start_time_utc]
        if starts:
            return min(starts)
        return datetime.now(UTC) if any(step.job_status.has_started for step in leaves) else None

    def _job_start(self, status: JobStatus) -> datetime | None:
        try:
            started = self._history.details(self._name).start_time_utc
        except UNREADABLE as error:
            self._warn(f"{type(error)}", f"Start of job {self._name} cannot be read ({one_line(error)}).")
            started = None
        if started is not None:
            return _in_utc(started)
        return datetime.now(UTC) if status.has_started else None

    def _report_steps(self, parent: str) -> None:
        steps = self._history.children(parent)
        if not steps and parent in self._steps and self._steps[parent].job_status.has_started:
            self._leaves.add(parent)
        for step in steps:
            self._report_step(step)
            if step.run_id not in self._leaves:
                # Whatever is below a run that has ended has been reported after this.
                if step.job_status.is_terminal:
                    self._leaves.add(step.run_id)
                self._report_steps(step.run_id)

    def _report_step(self, step: Run) -> None:
        before = self._steps.get(step.run_id)
        self._steps[step.run_id] = step
        now = step.job_status
        if before is None or before.job_status is not now:
            self._say(f"  {step.label}: {now}" if before is None else f"  {step.label}: {before.job_status} -> {now}")
        has_ended = now.is_terminal and (before is None or before.job_status.is_active)
        if now.has_started or has_ended:
            self._logs.read(step, to_end=has_ended)

    def _say(self, line: str) -> None:
        self._log(line)
        self._last_line = time.monotonic()

    def _warn(self, what: str, line: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._say(line)


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
