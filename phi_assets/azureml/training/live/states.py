"""How many jobs stand, read in bulk: the number of requests grows with their experiments, and not with the jobs."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import httpx

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import AzureMLError, MetricsUnreadable
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.connection.sight import in_words
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.training.history import UNREADABLE, Run, RunHistory
from phi_assets.azureml.training.live.limits import Limits
from phi_assets.azureml.training.lookup import in_utc
from phi_assets.azureml.training.metrics import metrics_of_runs
from phi_assets.evaluation.losses import EVALUATION_LOSS, LOSS

NOT_STARTED = "No step of it had started"

_JOBS_AT_ONCE = 50
"""In one query; `RunHistory.query` says why."""


@dataclass(frozen=True)
class JobState:
    """A job as run history has it."""

    name: str
    status: JobStatus
    service_status: str
    """As the service spells it, known to us or not."""
    created: datetime | None
    started: datetime | None
    """When its first step got its node, or the job itself where it has no steps; None where nothing has."""
    ended: datetime | None
    steps: Mapping[str, JobStatus]
    """Those that have not ended, by what people call them."""
    experiment_id: str
    recording: tuple[str, ...] = field(repr=False, default=())
    """Ids of its runs that may be recording metrics now."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """The last ones; without those that are not known."""

    def in_words(self, now: datetime | None) -> str:
        """State, since when, what its steps do, and its losses, as a clause without full stop."""
        since = self.started or self.created
        until = self.ended or now
        # The service's clock is known to a second only.
        passed = f" for {in_words(max((until - since).total_seconds(), 0))}" if since and until else ""
        steps = "; ".join(f"{label} is {status}" for label, status in self.steps.items())
        losses = "".join(f", {name} {value:.4g}" for name, value in self.losses.items())
        if self.status.is_terminal:
            return f"{self.service_status}{f' after{passed[4:]}' if passed else ''}"
        state = "waiting for a node" if self.waits_for_node and self.steps else self.service_status
        return f"{state}{passed}{f' ({steps})' if steps else ''}{losses}"

    @property
    def waits_for_node(self) -> bool:
        """It has not ended, and nothing of it has got a node."""
        return self.status.is_active and self.started is None

    def exceeded(
        self, limits: Limits, studio_url: str, now: datetime | None, condition: str = NOT_STARTED
    ) -> AzureMLError | None:
        """The error that its time is over, or was over when it ended; None where it is not, or that is not known."""
        until = self.ended or now
        if until is None or self.created is None:
            return None
        return limits.exceeded(
            self.name,
            studio_url,
            queued=(until - self.created).total_seconds(),
            running=(until - self.started).total_seconds() if self.started else None,
            condition=lambda: condition,
        )


@dataclass(frozen=True)
class Survey:
    """What the service says of many jobs at one time."""

    states: Mapping[str, JobState]
    """By the jobs' names."""
    absent: frozenset[str]
    """Names that run history does not have."""
    unknown: Mapping[str, str]
    """Why nothing is known of a job."""


def survey(ws: Workspace, jobs: Mapping[str, Collection[str]], log: Log = silent) -> Survey:
    """How the jobs stand.

    One request for every 50 jobs of an experiment, more where the answer comes in pages, and one to MLflow for every 50
    runs that are at work; none to Azure Resource Manager, whose limits many jobs would meet.

    Args:
        jobs: the names of an experiment's jobs, by its name.

    Raises:
        httpx.HTTPError, AzureError: nothing at all could be read.
    """
    history = RunHistory(ws, log)
    states: dict[str, JobState] = {}
    absent: set[str] = set()
    unknown: dict[str, str] = {}
    failure: Exception | None = None
    for experiment, names in jobs.items():
        try:
            found = {state.name: state for state in _of_experiment(history, experiment, sorted(names))}
        except UNREADABLE as error:
            failure = error
            unknown |= dict.fromkeys(names, one_line(error))
        else:
            states |= found
            absent |= set(names) - set(found)
    if failure is not None and not states and not absent:
        raise failure
    return Survey(_with_losses(ws, states, log), frozenset(absent), unknown)


def _of_experiment(history: RunHistory, experiment: str, names: Sequence[str]) -> Iterator[JobState]:
    for start in range(0, len(names), _JOBS_AT_ONCE):
        condition = " or ".join(f"RootRunId eq {name}" for name in names[start : start + _JOBS_AT_ONCE])
        families: dict[str, list[Run]] = {}
        try:
            for run in history.query(experiment, condition):
                families.setdefault(run.root_run_id or run.run_id, []).append(run)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.NOT_FOUND:
                raise
            return
        yield from (_state(name, runs) for name, runs in families.items() if any(run.run_id == name for run in runs))


def _state(name: str, runs: Iterable[Run]) -> JobState:
    """Of a job and the runs below it."""
    (job,) = (run for run in runs if run.run_id == name)
    steps = [run for run in runs if run.run_id != name]
    parents = {run.parent_run_id for run in steps}
    # A pipeline inside a pipeline is no step that gets a node.
    leaves = [step for step in steps if step.run_id not in parents]
    own = [] if steps or not job.job_status.has_started else [job]
    starts = [in_utc(run.start_time_utc) for run in (*leaves, *own) if run.start_time_utc]
    at_work = own or [job, *(step for step in leaves if step.job_status.has_started)]
    return JobState(
        name=name,
        status=job.job_status,
        service_status=job.status,
        created=in_utc(job.created_utc) if job.created_utc else None,
        started=min(starts, default=None),
        ended=in_utc(job.end_time_utc) if job.end_time_utc else None,
        steps={step.label: step.job_status for step in leaves if step.job_status.is_active},
        experiment_id=job.experiment_id or "",
        recording=tuple(run.run_id for run in at_work) if own or len(at_work) > 1 else (),
    )


def _with_losses(ws: Workspace, states: Mapping[str, JobState], log: Log) -> Mapping[str, JobState]:
    """The same with what MLflow knows of them; without, and said, where it does not answer."""
    recording = [run_id for state in states.values() for run_id in state.recording]
    if not recording:
        return states
    try:
        metrics = metrics_of_runs(ws, {state.experiment_id for state in states.values()}, recording, log)
    except (MetricsUnreadable, *UNREADABLE) as error:
        log(f"Warning: no losses are known. {one_line(error)}.")
        return states
    return {name: replace(state, losses=_losses(state, metrics)) for name, state in states.items()}


def _losses(state: JobState, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Those of the job itself before those of its steps."""
    found: dict[str, float] = {}
    for run_id in state.recording:
        recorded = metrics.get(run_id, {})
        found |= {name: recorded[name] for name in (LOSS, EVALUATION_LOSS) if name in recorded and name not in found}
    return found
