"""Where a job's model lies: looked for in every way there is, from the place that it was given to run history."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.models.folders import ModelFolder, list_folder
from phi_assets.azureml.models.registered import TRAINED_MODEL_OUTPUT
from phi_assets.azureml.storage.datastores import is_datastore_uri
from phi_assets.azureml.training.history import UNREADABLE, RunHistory
from phi_assets.azureml.training.pipelines import MODEL_OUTPUT

_BLOB_STORE = "azureml://datastores/workspaceblobstore/paths"


@dataclass(frozen=True)
class OutputReport:
    """What was found of a job's output."""

    folder: ModelFolder
    is_named: bool = True
    """The service itself says that the output lies there, and the place could be listed."""

    @property
    def is_complete(self) -> bool:
        """Whether the model was seen."""
        return self.folder.is_complete

    @property
    def is_missing(self) -> bool:
        """Whether it is certain that there is no model. Nothing at a place that nobody named proves nothing."""
        return not self.is_complete and (self.is_named or bool(self.folder.files))

    @property
    def in_words(self) -> str:
        """For messages, as a clause."""
        doubt = "" if self.is_complete or self.is_missing else ", which may not be the place"
        return self.folder.in_words + doubt


def model_place(job_name: str) -> str:
    """The datastore folder that a job is told to write its model to, so that nobody has to guess where it lies.

    The service reports no uri for the output of a pipeline job, and its default has neither the job's name nor the
    output's in it
    (https://learn.microsoft.com/azure/machine-learning/how-to-manage-inputs-outputs-pipeline#path-for-outputs).
    """
    return f"{_BLOB_STORE}/phi/{job_name}/{TRAINED_MODEL_OUTPUT}/"


def inspect_output(ws: Workspace, job: Any, log: Log = silent) -> OutputReport:
    """List the job's `trained_model` in the datastore, at the first of the known places that has a complete model.

    Where none has, the report is about the place that the service named, else about the first that has files, else
    about the first.

    Raises:
        StorageRefused: the storage account takes no keys, or does not let this identity read.
    """
    reports: list[OutputReport] = []
    for uri, is_named in _places(ws, job, log):
        folder = list_folder(ws, uri, log)
        report = OutputReport(folder, is_named and folder.exists)
        if report.is_complete:
            return report
        reports.append(report)
    return max(reports, key=lambda report: (report.is_named, report.folder.files > 0))


def _places(ws: Workspace, job: Any, log: Log) -> Iterator[tuple[str, bool]]:
    """Datastore uris, the likeliest first, and whether the service itself named them; each asked for when needed."""
    given = model_place(job.name)
    reported = str(getattr((job.outputs or {}).get(TRAINED_MODEL_OUTPUT), "path", None) or "")
    # What a job was told is repeated in its document, whatever became of it.
    if is_datastore_uri(reported) and reported.rstrip("/") != given.rstrip("/"):
        yield reported, True
    yield given, False
    history = RunHistory(ws, log)
    for named_by, is_named in ((_named_by_job, True), (_named_by_steps, False)):
        try:
            uris = named_by(history, job.name)
        except UNREADABLE as error:
            log(f"Job {job.name}: run history does not say where its outputs lie ({one_line(error)}).")
            continue
        for uri in filter(is_datastore_uri, uris):
            yield uri, is_named
    yield f"{_BLOB_STORE}/azureml/{job.name}/{TRAINED_MODEL_OUTPUT}/", False


def _named_by_job(history: RunHistory, job_name: str) -> list[str]:
    return [uri for name, uri in history.output_uris(job_name).items() if name == TRAINED_MODEL_OUTPUT]


def _named_by_steps(history: RunHistory, job_name: str) -> list[str]:
    """Other outputs of steps may hold a model as well: the one that is fine-tuned."""
    return [history.output_uris(step.run_id).get(MODEL_OUTPUT, "") for step in history.leaves(job_name)]
