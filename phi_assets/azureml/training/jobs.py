"""The fine-tuning job, exactly once: found by its computed name, waited for, proven, or submitted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypedDict, Unpack

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import JobNotFound, JobUnderway, MetricsUnreadable
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.connection.status import JobStatus, service_text
from phi_assets.azureml.training.decision import Attempt, Decision, Proof, decide
from phi_assets.azureml.training.history import UNREADABLE
from phi_assets.azureml.training.identity import FORCED_TAG, JobRequest
from phi_assets.azureml.training.live.limits import Limits
from phi_assets.azureml.training.live.states import survey
from phi_assets.azureml.training.lookup import created_at, get_job
from phi_assets.azureml.training.metrics import last_metrics
from phi_assets.azureml.training.outcome import Inspect, require_success
from phi_assets.azureml.training.outputs import inspect_output
from phi_assets.azureml.training.submission import OnData, OnName, Submission, WantedJob, check_ours, submit_job
from phi_assets.azureml.training.waiting import OnPoll, wait_for_job
from phi_assets.refs import Action, JobRef


@dataclass(frozen=True)
class SubmittedJob:
    """A job that exists in the workspace, told as soon as that is known."""

    name: str
    studio_url: str
    action: Action
    attempt: int
    fingerprint: str
    reason: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What the fine-tune depends on, labelled for people."""


OnSubmitted = Callable[[SubmittedJob], None]


class Handling(TypedDict, total=False):
    """Who is told of a job, and what may be done about it: what `ensure_success` takes, and `ensure_job` explains."""

    on_submitted: OnSubmitted | None
    on_poll: OnPoll | None
    output: Log | None
    force: bool
    forced_by: str
    submit: bool
    wait: bool
    take_up: str


def ensure_job(
    ws: Workspace,
    *,
    request: JobRequest,
    log: Log = silent,
    on_name: OnName | None = None,
    on_data: OnData | None = None,
    **handling: Unpack[Handling],
) -> JobRef:
    """A Completed job for the request's fingerprint exists. Its `trained_model` has been seen in the datastore.

    Where it could not be looked at, since nobody says where it lies, `model_seen` is False: registration decides.

    Attempts are looked up by their computed names, so whoever calls this, and however often, finds what has been
    submitted before; `decision.decide` has the table of what follows from it. `force` submits another attempt although
    one has succeeded, and without regard to the recipe's limit; a running one is still waited for, so that there is
    never more than one at a time. `forced_by` names who forces: a job that the same name has forced before is not
    forced again, so a caller that died and comes back does not make two. Without `submit`, there is a job or an error.

    Without `wait`, a job that has not ended is left to itself. `take_up` is the name of one that has been: it is the
    result if it is a success, what it ended with is the error if not, and nothing is submitted.

    `on_name` is called with the job's name as soon as a job of ours may exist: before a new one is sent, and when
    attaching. `on_submitted` is called once, as soon as the job exists and before it is waited for; `on_data` with each
    data asset that a new job was given; `on_poll` before each further look at a job that is waited for. `log` receives
    transitions, a heartbeat and lines about the loss; `output` every line that the steps write.

    Raises:
        DataUploadFailed, SubmissionFailed: there is no new job.
        JobFailed, JobCanceled, OutputMissing, JobTimeout, QueueTimeout, JobNotFound: how the job that was waited for
            ended.
        JobUnderway: the job exists and has not ended, without `wait`.
        SightLost: the service could not be asked for hours; the job runs on, and the next call finds it.
        JobNotFound: a job would have to be submitted, without `submit`; the job to take up is not the request's latest.
        AttemptsExhausted: all allowed attempts had ended without a model before this call.
        JobConflict: a job with our name carries another fingerprint.
    """
    submit_attempt = partial(submit_job, ws, request, log=log, on_name=on_name, on_data=on_data)
    ensured = ensure_success(ws, request, submit_attempt, inspect_output, log=log, on_name=on_name, **handling)
    job, decision = ensured.job, ensured.decision
    return JobRef(
        name=job.name,
        fingerprint=request.fingerprint,
        # One from before may be called otherwise.
        display_name=str(job.display_name or request.display_name(decision.attempt)),
        studio_url=ws.studio_url(job),
        status=JobStatus.COMPLETED.value,
        action=decision.action,
        reason=decision.reason,
        attempt=decision.attempt,
        created_at=created.isoformat() if (created := created_at(job)) else "",
        model_seen=ensured.proof.is_complete,
        **_metrics(ws, job.name, log),
    )


@dataclass(frozen=True)
class Ensured:
    """A job that is a success, and how it came to be."""

    job: Any
    decision: Decision
    proof: Proof


class SubmitAttempt(Protocol):
    """Submits the attempt of this number; `forced_by` is who forces it, or nothing."""

    def __call__(self, attempt: int, *, forced_by: str) -> Submission: ...


def ensure_success(
    ws: Workspace,
    wanted: WantedJob,
    submit_attempt: SubmitAttempt,
    inspect: Inspect,
    *,
    log: Log = silent,
    on_submitted: OnSubmitted | None = None,
    on_name: OnName | None = None,
    on_poll: OnPoll | None = None,
    output: Log | None = None,
    force: bool = False,
    forced_by: str = "",
    submit: bool = True,
    wait: bool = True,
    take_up: str = "",
) -> Ensured:
    """A job of this fingerprint is Completed, and `inspect` has looked for what it was to write.

    What `ensure_job` does, and says of its arguments, for a job of any kind.

    Raises:
        AzureMLError: as `ensure_job`.
    """
    job, latest = latest_attempt(ws, wanted, log, inspect)
    if force and _was_forced_by(job, forced_by):
        log(f"Job {job.name} is the one that was forced; not forcing another.")
        force = False
    if take_up:
        decision = _taken_up(latest, take_up, wanted.asset)
    else:
        decision = decide(latest, force=force, attempts=wanted.attempts, section=wanted.section)
    log(f"{decision.reason} Action: {decision.action}.")
    if decision.submits and not submit:
        raise JobNotFound(f"{decision.reason} This run was not to submit one: materialize {wanted.asset} to do so.")
    if decision.submits:
        mark = forced_by if force else ""
        made = submit_attempt(decision.attempt, forced_by=mark)
        job = made.job
        if not made.by_us:
            decision = Decision(
                "attached", decision.attempt, f"Job {job.name} was submitted by somebody else at the same time."
            )
    elif on_name is not None and decision.action == "attached":
        on_name(str(job.name))
    if on_submitted is not None:
        on_submitted(_announcement(ws, wanted, decision, job))
    report = latest.output if latest else None
    if decision.action != "reused":
        log(f"Job {job.name}: {ws.studio_url(job)}")
        limits = wanted.limits
        if not wait and JobStatus.of(job).is_active:
            raise JobUnderway(job.name, ws.studio_url(job))
        job = wait_for_job(ws, job.name, limits, wanted.compute_name, log, output, on_poll, wanted.owner)
        if take_up:
            _require_in_time(ws, job, limits, log, wanted.asset)
        report = require_success(ws, job, log, inspect)
    assert report is not None
    return Ensured(job, decision, report)


def _taken_up(latest: Attempt | None, name: str, asset: str) -> Decision:
    """The decision for a job that nobody has waited for.

    Raises:
        JobNotFound: it is not the latest of its request any more.
    """
    if latest is None or latest.name != name:
        there_is = "there is no job for them" if latest is None else latest.in_words.replace("Job", "job", 1)
        raise JobNotFound(
            f"Job {name} is not taken up. Since it was submitted the recipe or its inputs have changed, or another "
            f"attempt was made: {there_is}. Materialize {asset} to go on from what holds now."
        )
    return Decision("attached", latest.number, f"{latest.in_words}, and no run has waited for it.")


def _require_in_time(ws: Workspace, job: Any, limits: Limits, log: Log, asset: str) -> None:
    """The job was not cancelled because its time was over; `log` says how to go on from one that is no success.

    Raises:
        JobTimeout, QueueTimeout: it was.
    """
    status = JobStatus.of(job)
    if status is not JobStatus.COMPLETED:
        log(f"For the next attempt materialize {asset}: this run, executed again, looks at {job.name} once more.")
    if status is not JobStatus.CANCELED:
        return
    try:
        state = survey(ws, {job.experiment_name: [job.name]}, log).states.get(job.name)
    except UNREADABLE as error:
        log(f"Warning: how long job {job.name} took cannot be read ({one_line(error)}).")
        return
    over = state.exceeded(limits, ws.studio_url(job), now=None) if state is not None else None
    if over is not None:
        raise over


def _was_forced_by(job: Any, forced_by: str) -> bool:
    tags = getattr(job, "tags", None) or {}
    return bool(forced_by) and tags.get(FORCED_TAG) == forced_by


def latest_attempt(
    ws: Workspace, request: WantedJob, log: Log = silent, inspect: Inspect = inspect_output
) -> tuple[Any, Attempt | None]:
    """The last of the jobs r1, r2, ... that exist, and how it stands. None where there is none.

    Jobs are looked up by name, as listing them would take minutes in a large workspace. Before a new attempt would
    follow, all numbers up to the recipe's limit are tried: somebody may have deleted one in between.
    """
    latest, number, candidate = None, 0, 1
    while True:
        job = get_job(ws, request.job_name(candidate), log)
        if job is not None:
            check_ours(ws, job, request)
            latest, number = job, candidate
        elif candidate >= request.attempts or _stands(latest):
            break
        candidate += 1
    if latest is None:
        return None, None
    status = JobStatus.of(latest)
    output = inspect(ws, latest, log) if status is JobStatus.COMPLETED else None
    return latest, Attempt(number, latest.name, status, service_text(latest.status), ws.studio_url(latest), output)


def _stands(job: Any) -> bool:
    """Whether the job is one to wait for or to use, as far as its state says."""
    return job is not None and JobStatus.of(job) not in (JobStatus.FAILED, JobStatus.CANCELED)


def _announcement(ws: Workspace, request: WantedJob, decision: Decision, job: Any) -> SubmittedJob:
    return SubmittedJob(
        name=job.name,
        studio_url=ws.studio_url(job),
        action=decision.action,
        attempt=decision.attempt,
        fingerprint=request.fingerprint,
        reason=decision.reason,
        inputs=request.labelled_inputs,
    )


def _metrics(ws: Workspace, name: str, log: Log) -> dict[str, Any]:
    """What the job has recorded, or why that is not known: a proven job is worth more than its metrics."""
    try:
        found = last_metrics(ws, name, log)
        note = "" if found else f"Job {name} is Completed and has recorded no metric at all."
    except (MetricsUnreadable, *UNREADABLE) as error:
        found, note = {}, f"The metrics of job {name} cannot be read. {one_line(error)}."
    if note:
        log(f"Warning: {note}")
    return {"metrics": found, "metrics_note": note}
