"""Proof that a job left something: its output is listed in the datastore, never downloaded."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import StorageRefused
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent
from phi_assets.azureml.connection.storage_access import storage_advice

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

DEFAULT_DATASTORE = "workspaceblobstore"
MLFLOW_MODEL_FILE = "MLmodel"

_DATASTORE_URI = re.compile(r"^azureml://(?:.*/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)$")


@dataclass(frozen=True)
class OutputReport:
    """What lies at a job's output."""

    uri: str
    files: int
    size_bytes: int
    mlmodel_bytes: int | None
    """Size of `MLmodel`; None where there is none."""
    is_reported: bool = True
    """The job says that this is the place, and it could be read; otherwise it was only looked for at the default."""

    @property
    def is_missing(self) -> bool:
        """Whether it is certain that there is no model. Nothing at a place that the job did not name proves nothing."""
        return not self.is_complete and (self.is_reported or bool(self.files))

    @property
    def is_complete(self) -> bool:
        """Whether it can be registered as an MLflow model."""
        return bool(self.mlmodel_bytes) and self.size_bytes > 0

    @property
    def in_words(self) -> str:
        """For messages, as a clause."""
        size = f"{self.files} files, {_human(self.size_bytes)}"
        if self.is_complete:
            return f"its model is complete ({size})"
        if not self.files:
            return f"{self.uri} is empty" + ("" if self.is_reported else ", which may not be the place")
        lacks = "no" if self.mlmodel_bytes is None else "an empty"
        return f"{self.uri} holds {size}, but {lacks} {MLFLOW_MODEL_FILE}"


def inspect_output(ws: Workspace, job: Any, output: str, log: Log = silent) -> OutputReport:
    """List a job's output in the datastore.

    The path is the one the job reports; where it reports none, the service's default,
    `azureml/<job>/<output>/` in the workspace's blob datastore
    (https://learn.microsoft.com/azure/machine-learning/how-to-read-write-data-v2).

    Raises:
        StorageRefused: the storage account takes no keys, or does not let this identity read.
    """
    datastore, path, is_reported = _location(job, output)
    prefix = path.rstrip("/") + "/"
    uri = f"azureml://datastores/{datastore}/paths/{prefix}"

    def walk() -> OutputReport:
        files = size = 0
        mlmodel_bytes: int | None = None
        with _container(ws, datastore) as container:
            for blob in container.list_blobs(name_starts_with=prefix):
                files += 1
                size += blob.size or 0
                if blob.name == f"{prefix}{MLFLOW_MODEL_FILE}":
                    mlmodel_bytes = blob.size or 0
        return OutputReport(uri, files, size, mlmodel_bytes, is_reported)

    try:
        return ride_out(walk, f"output {output} of {job.name}", log)
    except ResourceNotFoundError:
        # The datastore or its container.
        return OutputReport(uri, 0, 0, None, is_reported=False)
    except HttpResponseError as error:
        advice = storage_advice(error)
        if not advice:
            raise
        raise StorageRefused(f"{uri} cannot be listed: {one_line(error)}. {advice}") from error


def _human(size_bytes: int) -> str:
    """`812 bytes`, `4.5 MB`, `7.6 GB`; decimal units, as Studio shows them."""
    for unit, divisor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= divisor:
            return f"{size_bytes / divisor:.1f} {unit}"
    return f"{size_bytes} bytes"


def _location(job: Any, output: str) -> tuple[str, str, bool]:
    reported = (job.outputs or {}).get(output)
    match = _DATASTORE_URI.match(str(getattr(reported, "path", None) or ""))
    if match and "${{" not in match["path"]:
        return match["datastore"], match["path"], True
    return DEFAULT_DATASTORE, f"azureml/{job.name}/{output}", False


def _container(ws: Workspace, name: str) -> "ContainerClient":
    from azure.storage.blob import ContainerClient

    datastore: Any = ws.ml.datastores.get(name, include_secrets=True)
    secrets = datastore.credentials
    credential = getattr(secrets, "sas_token", None) or getattr(secrets, "account_key", None) or ws.credential
    account = f"{datastore.protocol or 'https'}://{datastore.account_name}.blob.{datastore.endpoint}"
    return ContainerClient(account, datastore.container_name, credential=credential)
