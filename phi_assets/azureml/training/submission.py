"""Submitting the fine-tuning job: its data registered, its name free, and one PUT that may be repeated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import JobConflict, JobNotFound, SubmissionFailed
from phi_assets.azureml.connection.refusals import next_step
from phi_assets.azureml.connection.retry import Log, is_transient, one_line
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.models.registered import TRAINED_MODEL_OUTPUT
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.training.data import ensure_data_asset
from phi_assets.azureml.training.identity import FINGERPRINT_TAG, JobRequest
from phi_assets.azureml.training.live.limits import Limits
from phi_assets.azureml.training.lookup import find_new_job, get_job
from phi_assets.azureml.training.outputs import model_place
from phi_assets.azureml.training.pipelines import build_pipeline
from phi_assets.refs import DataRef

OnName = Callable[[str], None]
OnData = Callable[[DataRef], None]


class WantedJob(Protocol):
    """A job as the graph wants it, told from others by what it depends on."""

    @property
    def kind(self) -> str:
        """What it is, for people."""
        ...

    @property
    def seed(self) -> str:
        """Key of the recipe by which there are others of the kind that ask for the same."""
        ...

    @property
    def asset(self) -> str:
        """What a person materializes to have it submitted."""
        ...

    @property
    def section(self) -> str:
        """Of the recipe: what says how often it may be submitted."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of the job: equal for equal inputs, in any process on any machine."""
        ...

    @property
    def labelled_inputs(self) -> dict[str, str]:
        """What it depends on, for people, as short text."""
        ...

    @property
    def owner(self) -> Owner:
        """On whose behalf it is made. Not part of the job's identity."""
        ...

    @property
    def attempts(self) -> int:
        """Jobs that may be submitted for this fingerprint."""
        ...

    @property
    def limits(self) -> Limits:
        """How long a job may take."""
        ...

    @property
    def compute_name(self) -> str:
        """The cluster that its steps run on."""
        ...

    def job_name(self, attempt: int) -> str:
        """Name of the n-th job for this fingerprint; n starts at 1."""
        ...

    def display_name(self, attempt: int) -> str:
        """Name for people."""
        ...


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

    return submitted(ws, request, attempt, send, log)


def submitted(ws: Workspace, wanted: WantedJob, attempt: int, send: Callable[[object], None], log: Log) -> Submission:
    """The attempt's job exists in the workspace: `send` makes the request, which has its name and may be repeated.

    Raises:
        SubmissionFailed, JobConflict: as `submit_job`.
    """
    name = wanted.job_name(attempt)
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
    check_ours(ws, job, wanted)
    if written.by_us:
        log(f"Submitted job {name} ({wanted.display_name(attempt)}).")
    else:
        log(f"Job {name} was submitted by somebody else at the same time; attached to it.")
    return Submission(job, written.by_us)


def check_ours(ws: Workspace, job: Any, request: WantedJob) -> None:
    """The job under our name is for our fingerprint.

    Raises:
        JobConflict: it is for another one.
    """
    tagged = (job.tags or {}).get(FINGERPRINT_TAG)
    if tagged and tagged != request.fingerprint:
        raise JobConflict(
            f"Job {job.name} exists for another {request.kind}: its fingerprint is {tagged}, ours "
            f"{request.fingerprint}. Change `{request.seed}` to get another name.",
            studio_url=ws.studio_url(job),
        )
