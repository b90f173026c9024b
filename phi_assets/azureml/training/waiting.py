"""Waiting for a job: one loop that reports what happens and ends only when the service says so."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from phi_assets.azureml.compute.condition import ClusterCondition, cluster_condition
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import AzureMLError, JobNotFound
from phi_assets.azureml.connection.retry import Log, one_line, patience, poll_delays, silent
from phi_assets.azureml.connection.sight import in_words, watching
from phi_assets.azureml.connection.status import JobStatus, service_text
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.training.cancelling import cancel_job, of_others
from phi_assets.azureml.training.history import UNREADABLE, Run, RunHistory
from phi_assets.azureml.training.live.limits import CANCELLED, Limits
from phi_assets.azureml.training.logs import StepLogs
from phi_assets.azureml.training.lookup import created_at, find_new_job, get_job, in_utc

OnPoll = Callable[[], None]

_REPORT_PATIENCE_SECONDS = 30.0
"""For the last look at the steps and their logs."""
_GLANCE_PATIENCE_SECONDS = 2.0
"""For each look before: there will be another, and the job itself is not to be kept waiting."""


def wait_for_job(
    ws: Workspace,
    name: str,
    limits: Limits,
    compute: str = "",
    log: Log = silent,
    output: Log | None = None,
    on_poll: OnPoll | None = None,
    owner: Owner | None = None,
) -> Any:
    """The job once it is Completed, Failed or Canceled, whatever it goes through before.

    Only these three end a job: `CancelRequested`, `NotResponding`, `Paused` and states that nobody knows are waited
    out. So is a time in which the service cannot be asked: the job runs on, and `log` says so, with what to do.

    The time limit counts from the start of the job's first step, as run history has it, so waiting for capacity before
    that does not use it up and attaching later does not extend it. Before that, the limit of the queue counts from the
    job's creation. Both count the service's time. A job that is not the owner's (the project's, unless one is given) is
    not cancelled then: it runs on for those who have submitted it. `log` receives transitions of the job and its steps,
    a heartbeat, why the cluster `compute` has no node for it, and lines about the loss; `output` every line that the
    steps write.
    `on_poll` is called before each further look, and may raise. Where many wait with one identity, each of them looks
    less often, so that they stay below the service's request limits together.

    Raises:
        JobNotFound: the job has been deleted.
        JobTimeout, QueueTimeout: the time is over; the job has been cancelled if it is the owner's.
        SightLost: the service could not be asked for hours; the job was left as it is.
    """
    owner = owner or ws.owner()
    watch = _Watch(ws, name, limits, compute, log, output)
    delays = poll_delays()
    with watching(ws.watched(f"Job {name}", ws.studio_url(name))):
        while True:
            time.sleep(ws.crowd.pause())
            job = get_job(ws, name, log) or find_new_job(ws, name, log)
            if job is None:
                raise JobNotFound(f"Job {name} has been deleted while it was waited for. Run again to submit it anew.")
            watch.report(job)
            if JobStatus.of(job).is_terminal:
                return job
            theirs = of_others(job.tags, owner)
            over = watch.over(job, f"is not waited for any longer: it {theirs}" if theirs else CANCELLED)
            if over is not None and theirs:
                raise over
            if over is not None:
                return _end(ws, job, over, log)
            time.sleep(next(delays))
            if on_poll is not None:
                on_poll()


def _end(ws: Workspace, job: Any, over: AzureMLError, log: Log) -> Any:
    if cancel_job(ws, job.name, log) is JobStatus.COMPLETED:
        # It was quicker.
        return get_job(ws, job.name, log)
    raise over


class _Watch:
    """Looks at one job again and again, and reports what is new."""

    def __init__(self, ws: Workspace, name: str, limits: Limits, compute: str, log: Log, output: Log | None) -> None:
        self._ws = ws
        self._name = name
        self._limits = limits
        self._log = log
        self._history = RunHistory(ws, log, _REPORT_PATIENCE_SECONDS)
        self._logs = StepLogs(self._history, self._say, output)
        self._queue = _Queue(ws, compute, limits.cluster_seconds, self._say)
        self._status: JobStatus | None = None
        self._steps: dict[str, Run] = {}
        self._leaves: set[str] = set()
        """Runs below which there is nothing to look at any more."""
        self._queued = _Stopwatch(ws)
        self._running = _Stopwatch(ws)
        self._warned: set[str] = set()
        self._last_line = time.monotonic()

    def report(self, job: Any) -> None:
        """Says what has changed since the last look, in the job, in its steps and in their logs."""
        text = service_text(job.status)
        status, before = JobStatus(text), self._status
        self._status = status
        self._queued.begin(created_at(job))
        if status is not before:
            self._say(f"Job {self._name}: {status}" if before is None else f"Job {self._name}: {before} -> {status}")
        if status is JobStatus.UNKNOWN:
            self._warn(text, f"Job {self._name} is in state {text!r}, which is not a known one; it is waited for.")
        elif status in (JobStatus.NOT_RESPONDING, JobStatus.PAUSED):
            self._warn(text, f"Job {self._name} is {status}; jobs come back from that, so it is waited for.")
        try:
            with patience(_REPORT_PATIENCE_SECONDS if status.is_terminal else _GLANCE_PATIENCE_SECONDS):
                self._report_steps(self._name)
                if status.is_terminal:
                    for step in self._steps.values():
                        self._logs.read(step, to_end=True, flush=True)
        except UNREADABLE as error:
            # Nothing of this decides about the job.
            self._warn(f"{type(error)}", f"Steps of job {self._name} cannot be read ({one_line(error)}).")
        waiting = self._waiting()
        if waiting:
            self._queue.look()
        if time.monotonic() - self._last_line > self._limits.heartbeat_seconds:
            self._say(self._heartbeat(waiting))

    def over(self, job: Any, fate: str) -> AzureMLError | None:
        """The error that the job's time is over, with its fate; None where it is not, or where that is not known."""
        if not self._running.has_begun and self._status is not None and self._status.may_have_started:
            self._note_start(self._status)
        return self._limits.exceeded(
            self._name,
            self._ws.studio_url(job),
            queued=self._queued.seconds(),
            running=self._running.seconds() if self._running.has_begun else None,
            condition=self._queue.now,
            fate=fate,
        )

    def _heartbeat(self, waiting: list[Run]) -> str:
        if not waiting:
            return f"Job {self._name} is still {self._status}."
        steps = "; ".join(f"{step.label} is {step.job_status}" for step in waiting if step.run_id != self._name)
        passed = "" if self._running.has_begun else f" for {in_words(self._queued.seconds())}"
        state = f"{waiting[0].job_status}{passed}{f' ({steps})' if steps else ''}"
        return f"Job {self._name} is still {state}. {self._queue.in_words}."

    def _waiting(self) -> list[Run]:
        """What waits for a node: the job itself, or those of its steps that have none yet."""
        status = self._status
        if status is None or status.is_terminal:
            return []
        if not status.may_have_started:
            return [Run(run_id=self._name, status=status.value)]
        alive = [step for run_id, step in self._steps.items() if self._is_leaf(run_id) and step.job_status.is_active]
        queued = [step for step in alive if not step.job_status.may_have_started]
        return queued if len(queued) == len(alive) else []

    def _is_leaf(self, run_id: str) -> bool:
        return run_id in self._leaves or not self._steps[run_id].job_status.may_have_started

    def _note_start(self, status: JobStatus) -> None:
        """When the first step got its node. A pipeline job is Running before, while its steps wait for capacity."""
        if not self._steps:
            self._note_job_start(status)
            return
        leaves = [step for run_id, step in self._steps.items() if run_id in self._leaves]
        starts = [in_utc(step.start_time_utc) for step in leaves if step.start_time_utc]
        if starts:
            self._running.begin(min(starts))
        elif any(step.job_status.has_started for step in leaves):
            self._running.begin(None)

    def _note_job_start(self, status: JobStatus) -> None:
        try:
            started = self._history.details(self._name).start_time_utc
        except UNREADABLE as error:
            self._warn(f"{type(error)}", f"Start of job {self._name} cannot be read ({one_line(error)}).")
            started = None
        if started is not None:
            self._running.begin(in_utc(started))
        elif status.has_started:
            self._running.begin(None)

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


class _Stopwatch:
    """How long ago something began, by the service's clock; by this machine's monotonic one where nobody said when."""

    def __init__(self, ws: Workspace) -> None:
        self._clock = ws.clock
        self._moment: datetime | None = None
        self._seen: float | None = None

    @property
    def has_begun(self) -> bool:
        return self._seen is not None

    def begin(self, moment: datetime | None) -> None:
        """It began then, at the latest now. Only the first time counts."""
        if self._seen is None:
            self._moment, self._seen = moment, time.monotonic()

    def seconds(self) -> float:
        """0 where it has not begun."""
        if self._seen is None:
            return 0.0
        age = None if self._moment is None else self._clock.age(self._moment)
        return time.monotonic() - self._seen if age is None else age


class _Queue:
    """The cluster of a job that waits for a node; what the service says of it is passed on when it changes."""

    def __init__(self, ws: Workspace, compute: str, seconds: float, log: Log) -> None:
        self._ws = ws
        self._compute = compute
        self._seconds = seconds
        self._log = log
        self._seen: ClusterCondition | None = None
        self._looked_at = float("-inf")

    @property
    def in_words(self) -> str:
        """What was seen last."""
        return self._seen.in_words if self._seen is not None else "It waits for a node"

    def look(self) -> None:
        """Says how the cluster is, if its time has come and that has changed."""
        if self._compute and time.monotonic() - self._looked_at >= self._seconds:
            before = self._seen
            self.now()
            if self._seen != before:
                self._log(f"Waiting for a node. {self.in_words}.")

    def now(self) -> str:
        """How the cluster is right now."""
        if self._compute:
            self._seen = cluster_condition(self._ws, self._compute, silent)
            self._looked_at = time.monotonic()
        return self.in_words
