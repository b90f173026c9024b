"""Submitting the fine-tuning job: its data registered, its name free, and one PUT that may be repeated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import JobConflict, JobNotFound, SubmissionFailed
from phi_assets.azureml.connection.refusals import next_step
from phi_assets.azureml.connection.retry import Log, is_transient, one_line
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.models.registered import TRAINED_MODEL_OUTPUT
from phi_assets.azureml.training.data import ensure_data_asset
from phi_assets.azureml.training.identity import FINGERPRINT_TAG, JobRequest
from phi_assets.azureml.training.lookup import find_new_job, get_job
from phi_assets.azureml.training.outputs import model_place
from phi_assets.azureml.training.pipelines import build_pipeline
from phi_assets.refs import DataRef

OnName = Callable[[str], None]
OnData = Callable[[DataRef], None]


@dataclass(frozen=True)
class Submission:
    """The job that exists after a submission."""

    job: Any
    by_us: bool
    """False where somebody else submitted it at the same time."""


def submit_job(
    ws: Workspace,
    request: JobRequest,
    attempt: int,
    log: Log,
    *,
    on_name: OnName | None = None,
    on_data: OnData | None = None,
    forced_by: str = "",
) -> Submission:
    """The attempt's job exists in the workspace, and its training, validation and test data as data assets.

    The name follows from the fingerprint and the service keeps one job per name, so a PUT whose answer was lost can be
    sent again: whatever arrives, there is one job. `on_name` is called right before the first PUT, `on_data` with each
    data asset.

    Raises:
        DataUploadFailed: a sample could not be registered.
        SubmissionFailed: the service refused the job, or did not answer for a quarter of an hour; there is none.
        JobConflict: a job with this name carries another fingerprint.
    """
    name = request.job_name(attempt)
    data = {
        use: ensure_data_asset(ws, request.data_asset(sample), sample, log, owner=request.owner)
        for use, sample in request.samples.items()
    }
    if on_data is not None:
        for asset in data.values():
            on_data(asset)
    if on_name is not None:
        on_name(name)

    def send(_: object) -> None:
        job: Any = build_pipeline(
            request.component,
            model_id=request.model.id,
            compute_name=request.compute.name,
            gpus=request.compute.gpus,
            train_data=data["train"].id,
            validation_data=data["validation"].id if "validation" in data else None,
            test_data=data["test"].id,
            parameters=request.parameters,
            title=request.display_name(attempt),
        )
        job.name = name
        job.outputs[TRAINED_MODEL_OUTPUT].path = model_place(name)
        job.tags = request.tags(attempt, forced_by)
        ws.ml.jobs.create_or_update(job, experiment_name=request.finetune.experiment)

    try:
        written = write(
            f"Job {name}",
            look=lambda: get_job(ws, name, log),
            send=send,
            is_done=lambda job: job is not None,
            log=log,
            # A job of this name can only be refused for good: there is no job to wait for.
            conflict_patience_seconds=0,
        )
    except AzureError as error:
        if is_transient(error):
            raise SubmissionFailed(
                f"Azure ML did not say what became of job {name}: {one_line(error)}. Run again: it is found by name."
            ) from error
        advice = next_step(error, "")
        raise SubmissionFailed(
            f"Azure ML refused job {name}: {one_line(error)}. Nothing is running.{f' {advice}' if advice else ''}"
        ) from error
    job = written.found or find_new_job(ws, name, log)
    if job is None:
        raise JobNotFound(f"Job {name} was accepted but cannot be found. Run again: it is looked for by its name.")
    check_ours(ws, job, request)
    if written.by_us:
        log(f"Submitted job {name} ({request.display_name(attempt)}).")
    else:
        log(f"Job {name} was submitted by somebody else at the same time; attached to it.")
    return Submission(job, written.by_us)


def check_ours(ws: Workspace, job: Any, request: JobRequest) -> None:
    """The job under our name is for our fingerprint.

    Raises:
        JobConflict: it is for another one.
    """
    tagged = (job.tags or {}).get(FINGERPRINT_TAG)
    if tagged and tagged != request.fingerprint:
        raise JobConflict(
            f"Job {job.name} exists for another fine-tune: its fingerprint is {tagged}, ours {request.fingerprint}. "
            "Change `finetune.parameters.seed` to get another name.",
            studio_url=ws.studio_url(job),
        )
