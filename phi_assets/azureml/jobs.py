"""The fine-tuning job, exactly once: found by its computed name, waited for, proven, or submitted."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from azure.core.exceptions import AzureError

from phi_assets.azureml.client import Workspace, sdk
from phi_assets.azureml.data import ensure_data_asset
from phi_assets.azureml.errors import (
    AttemptsExhausted,
    JobConflict,
    SubmissionFailed,
)
from phi_assets.azureml.identity import FINGERPRINT_TAG, JobRequest, job_fingerprint, job_name
from phi_assets.azureml.metrics import MetricPoint, job_metrics, last_metrics
from phi_assets.azureml.models import TRAINED_MODEL_OUTPUT
from phi_assets.azureml.outcome import require_success
from phi_assets.azureml.outputs import inspect_output
from phi_assets.azureml.pipelines import build_pipeline
from phi_assets.azureml.retry import Log, one_line, silent
from phi_assets.azureml.status import JobStatus, service_text
from phi_assets.azureml.waiting import cancel_job, get_job, wait_for_job
from phi_assets.refs import Action, JobRef

__all__ = [
    "JobRequest",
    "MetricPoint",
    "SubmittedJob",
    "cancel_job",
    "ensure_job",
    "job_fingerprint",
    "job_metrics",
    "job_name",
]


@dataclass(frozen=True)
class SubmittedJob:
    """A job that exists in the workspace, told as soon as that is known."""

    name: str
    studio_url: str
    action: Action
    attempt: int
    fingerprint: str


OnSubmitted = Callable[[SubmittedJob], None]


@dataclass(frozen=True)
class _Attempt:
    number: int
    job: Any

    @property
    def status(self) -> JobStatus:
        return JobStatus.of(self.job)


@dataclass(frozen=True)
class _Decision:
    """What to do about the latest attempt, and why."""

    action: Action
    attempt: int
    job: Any = None
    """The job to wait for or to reuse; None where one has to be submitted."""
    reason: str = ""


def ensure_job(
    ws: Workspace,
    *,
    request: JobRequest,
    log: Log = silent,
    on_submitted: OnSubmitted | None = None,
    force: bool = False,
) -> JobRef:
    """A Completed job for the request's fingerprint exists, and its `trained_model` has been seen in the datastore.

    Attempts are looked up by their computed names, so whoever calls this, and however often, finds what has been
    submitted before. A finished one is reused, a running one waited for; earlier ones that failed, were cancelled or
    left no model are followed by the next attempt, up to the recipe's `attempts`. `force` submits another attempt
    although one has succeeded, and without regard to that limit; a running one is still waited for, so that there is
    never more than one at a time.

    `on_submitted` is called once, as soon as the job exists and before it is waited for.

    Raises:
        SubmissionFailed: the service refused the job.
        JobFailed, JobCanceled, OutputMissing, JobTimeout: how the job that was waited for ended.
        AttemptsExhausted: all allowed attempts had ended without a model before this call.
        JobConflict: a job with our name carries another fingerprint.
    """
    decision = _decide(ws, request, log, force)
    log(f"{decision.reason} Action: {decision.action}.")
    if decision.job is None:
        decision = _submit(ws, request, decision, log)
    job = decision.job
    if on_submitted is not None:
        on_submitted(SubmittedJob(job.name, ws.studio_url(job), decision.action, decision.attempt, request.fingerprint))
    if decision.action != "reused":
        log(f"Job {job.name}: {ws.studio_url(job)}")
        job = wait_for_job(ws, job.name, timedelta(hours=request.finetune.timeout_hours), log)
        require_success(ws, job, log)
    return JobRef(
        name=job.name,
        fingerprint=request.fingerprint,
        display_name=request.display_name,
        studio_url=ws.studio_url(job),
        status=JobStatus.COMPLETED.value,
        action=decision.action,
        attempt=decision.attempt,
        metrics=_metrics(ws, job.name, log),
    )


def _decide(ws: Workspace, request: JobRequest, log: Log, force: bool) -> _Decision:
    latest = _latest_attempt(ws, request, log)
    if latest is None:
        return _Decision("submitted", 1, reason=f"No job {request.job_name(1)} exists.")
    name, status = latest.job.name, latest.status
    if status.is_active:
        return _Decision("attached", latest.number, latest.job, f"Job {name} is {service_text(latest.job.status)}.")
    reason = f"Job {name} is {status}."
    if status is JobStatus.COMPLETED:
        report = inspect_output(ws, latest.job, TRAINED_MODEL_OUTPUT, log)
        if report.is_complete and not force:
            return _Decision("reused", latest.number, latest.job, f"Job {name} is Completed and {report.in_words}.")
        reason = f"Job {name} is Completed and {report.in_words}."
    if force:
        return _Decision("resubmitted", latest.number + 1, reason=f"{reason} A new attempt is forced.")
    if latest.number >= request.finetune.attempts:
        raise AttemptsExhausted(
            f"{reason} That was attempt {latest.number} of {request.finetune.attempts}. Find the cause in Studio, then "
            "raise `finetune.attempts` or run with force.",
            studio_url=ws.studio_url(latest.job),
        )
    return _Decision("resubmitted", latest.number + 1, reason=f"{reason} See {ws.studio_url(latest.job)}")


def _latest_attempt(ws: Workspace, request: JobRequest, log: Log) -> _Attempt | None:
    """The last of the attempts r1, r2, ... that exist. Listing jobs would take minutes in a large workspace."""
    latest: _Attempt | None = None
    while True:
        number = latest.number + 1 if latest else 1
        job = get_job(ws, request.job_name(number), log)
        if job is None:
            return latest
        _check_ours(ws, job, request)
        latest = _Attempt(number, job)


def _check_ours(ws: Workspace, job: Any, request: JobRequest) -> None:
    tagged = (job.tags or {}).get(FINGERPRINT_TAG)
    if tagged and tagged != request.fingerprint:
        raise JobConflict(
            f"Job {job.name} exists for another fine-tune: its fingerprint is {tagged}, ours {request.fingerprint}. "
            "Change `finetune.parameters.seed` to get another name.",
            studio_url=ws.studio_url(job),
        )


def _submit(ws: Workspace, request: JobRequest, decision: _Decision, log: Log) -> _Decision:
    name = request.job_name(decision.attempt)
    train = ensure_data_asset(ws, _data_name(request.train.split), request.train, log)
    test = ensure_data_asset(ws, _data_name(request.test.split), request.test, log)
    job = build_pipeline(
        request.component,
        model_id=request.model.id,
        compute_name=request.compute.name,
        gpus=request.compute.gpus,
        train_data=train.id,
        test_data=test.id,
        parameters=request.parameters,
        title=request.display_name,
    )
    job.name = name
    job.tags = request.tags(decision.attempt)
    # Uploads take time; somebody else may have submitted meanwhile.
    rival = get_job(ws, name, log)
    if rival is None:
        try:
            submitted = ws.ml.jobs.create_or_update(job, experiment_name=request.finetune.experiment)
            log(f"Submitted job {name} ({request.display_name}).")
            return _Decision(decision.action, decision.attempt, submitted)
        except (AzureError, sdk().exceptions.MlException) as error:
            # A lost race, or an answer that was lost on its way: the job may exist all the same.
            rival = get_job(ws, name, log)
            if rival is None:
                raise SubmissionFailed(
                    f"Azure ML refused job {name}: {one_line(error)}. Nothing is running."
                ) from error
    _check_ours(ws, rival, request)
    log(f"Job {name} was submitted by somebody else at the same time; attached to it.")
    return _Decision("attached", decision.attempt, rival)


def _data_name(split: str) -> str:
    return f"ultrachat-{split.replace('_', '-')}"


def _metrics(ws: Workspace, name: str, log: Log) -> dict[str, float]:
    try:
        return last_metrics(ws, name, log)
    except httpx.HTTPStatusError as error:
        # A proven job is worth more than its curve, which some roles may not read.
        log(f"Job {name}: its metrics cannot be read ({one_line(error)}).")
        return {}
