"""How a job ended, in words and as errors."""

from typing import Any

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.errors import JobCanceled, JobFailed, OutputMissing
from phi_assets.azureml.history import RunHistory
from phi_assets.azureml.models import TRAINED_MODEL_OUTPUT
from phi_assets.azureml.outputs import OutputReport, inspect_output
from phi_assets.azureml.retry import Log, silent
from phi_assets.azureml.status import JobStatus


def require_success(ws: Workspace, job: Any, log: Log = silent) -> OutputReport:
    """What the ended job left, if it is a success: Completed, with its `trained_model` in the datastore.

    Raises:
        JobFailed: with the service's text about the job and about the step that failed.
        JobCanceled: with the time and the reason where the service knows them.
        OutputMissing: the job is Completed but there is no MLflow model.
    """
    status, studio_url = JobStatus.of(job), ws.studio_url(job)
    if status is JobStatus.FAILED:
        raise JobFailed(f"Job {job.name} failed: {_why_failed(ws, job.name, log)}", studio_url=studio_url)
    if status is JobStatus.CANCELED:
        raise JobCanceled(
            f"Job {job.name} was cancelled{_who_canceled(ws, job.name, log)}. Run again to submit the next attempt.",
            studio_url=studio_url,
        )
    report = inspect_output(ws, job, TRAINED_MODEL_OUTPUT, log)
    if not report.is_complete:
        raise OutputMissing(
            f"Job {job.name} is Completed, but {report.in_words}. Run again to submit the next attempt.",
            studio_url=studio_url,
        )
    log(f"Job {job.name} is Completed; {report.in_words}.")
    return report


def _why_failed(ws: Workspace, name: str, log: Log) -> str:
    """The service's error of the job and of the step that failed, which has the cause."""
    history = RunHistory(ws, log)
    texts = [history.details(name).error_text or "the service gives no reason"]
    for step in history.descendants(name):
        if step.job_status is JobStatus.FAILED:
            text = history.details(step.run_id).error_text
            if text and not any(_message(text) in known for known in texts):
                texts.append(f"Step {step.label}: {text}")
    return "\n".join(texts)


def _message(error_text: str) -> str:
    return error_text.split(": ", 1)[-1]


def _who_canceled(ws: Workspace, name: str, log: Log) -> str:
    details = RunHistory(ws, log).details(name)
    when = f" at {details.end_time_utc:%Y-%m-%d %H:%M:%S} UTC" if details.end_time_utc else ""
    return f"{when} ({details.cancelation_reason})" if details.cancelation_reason else when
