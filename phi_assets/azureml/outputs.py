"""Proof that a job left something: its output is listed in the datastore, never downloaded."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.retry import Log, ride_out, silent

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
    has_mlmodel: bool

    @property
    def is_complete(self) -> bool:
        """Whether it can be registered as an MLflow model."""
        return self.has_mlmodel and self.size_bytes > 0

    @property
    def in_words(self) -> str:
        """For messages."""
        if not self.files:
            return f"{self.uri} is empty"
        lacks = "" if self.has_mlmodel else f", but no {MLFLOW_MODEL_FILE}"
        return f"{self.uri} holds {self.files} files, {self.size_bytes:,} bytes{lacks}"


def inspect_output(ws: Workspace, job: Any, output: str, log: Log = silent) -> OutputReport:
    """List a job's output in the datastore.

    The path is the one the job reports; where it reports none, the service's default,
    `azureml/<job>/<output>/` in the workspace's blob datastore
    (https://learn.microsoft.com/azure/machine-learning/how-to-read-write-data-v2).
    """
    datastore, path = _location(job, output)
    prefix = path.rstrip("/") + "/"
    uri = f"azureml://datastores/{datastore}/paths/{prefix}"

    def walk() -> OutputReport:
        files = size = 0
        has_mlmodel = False
        with _container(ws, datastore) as container:
            for blob in container.list_blobs(name_starts_with=prefix):
                files += 1
                size += blob.size or 0
                has_mlmodel = has_mlmodel or (blob.name == f"{prefix}{MLFLOW_MODEL_FILE}" and bool(blob.size))
        return OutputReport(uri=uri, files=files, size_bytes=size, has_mlmodel=has_mlmodel)

    try:
        return ride_out(walk, f"output {output} of {job.name}", log)
    except ResourceNotFoundError:
        return OutputReport(uri=uri, files=0, size_bytes=0, has_mlmodel=False)


def _location(job: Any, output: str) -> tuple[str, str]:
    reported = (job.outputs or {}).get(output)
    match = _DATASTORE_URI.match(str(getattr(reported, "path", None) or ""))
    if match and "${{" not in match["path"]:
        return match["datastore"], match["path"]
    return DEFAULT_DATASTORE, f"azureml/{job.name}/{output}"


def _container(ws: Workspace, name: str) -> "ContainerClient":
    from azure.storage.blob import ContainerClient

    datastore: Any = ws.ml.datastores.get(name, include_secrets=True)
    secrets = datastore.credentials
    credential = getattr(secrets, "sas_token", None) or getattr(secrets, "account_key", None) or ws.credential
    account = f"{datastore.protocol or 'https'}://{datastore.account_name}.blob.{datastore.endpoint}"
    return ContainerClient(account, datastore.container_name, credential=credential)
