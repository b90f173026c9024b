"""How a job ended, in words and as errors."""

from collections.abc import Callable
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import JobCanceled, JobFailed, OutputMissing
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.training.decision import Proof
from phi_assets.azureml.training.history import UNREADABLE, RunHistory
from phi_assets.azureml.training.outputs import inspect_output

Inspect = Callable[[Workspace, Any, Log], Proof]
"""Looks for what a Completed job was to write."""


def require_success(ws: Workspace, job: Any, log: Log = silent, inspect: Inspect = inspect_output) -> Proof:
    """What the ended job left, if it is a success: Completed, and not proven to be without its output, which is looked
    at by `inspect`: of a fine-tune, its `trained_model`.

    Raises:
        JobFailed: with the service's text about the job and about the step that failed.
        JobCanceled: with who did it, when and why, where run history knows.
        OutputMissing: the job is Completed, and what it was to write is not at the place that the service names.
    """
    status, studio_url = JobStatus.of(job), ws.studio_url(job)
    if status is JobStatus.FAILED:
        raise JobFailed(f"Job {job.name} failed: {_read(_why_failed, ws, job.name, log)}", studio_url=studio_url)
    if status is JobStatus.CANCELED:
        by_whom = _read(_who_canceled, ws, job.name, log)
        raise JobCanceled(
            f"Job {job.name} was cancelled{by_whom}. Run again to submit the next attempt.", studio_url=studio_url
        )
    report = inspect(ws, job, log)
    if report.is_missing:
        raise OutputMissing(
            f"Job {job.name} is Completed, but {report.in_words}. Run again to submit the next attempt.",
            studio_url=studio_url,
        )
    log(f"Job {job.name} is Completed; {report.in_words}.")
    return report


def _read(words: Callable[[Workspace, str, Log], str], ws: Workspace, name: str, log: Log) -> str:
    try:
        return words(ws, name, log)
    except UNREADABLE as error:
        # How the job ended is known without run history, and is what its reader has to be told.
        return f" (run history cannot be read: {one_line(error)})"


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
    run = RunHistory(ws, log).run(name)
    who = f" by {run.last_modified_by.label}" if run.last_modified_by and run.last_modified_by.label else ""
    when = f" at {run.end_time_utc:%Y-%m-%d %H:%M:%S} UTC" if run.end_time_utc else ""
    return f"{who}{when} ({run.cancelation_reason})" if run.cancelation_reason else f"{who}{when}"
