"""What lies in a model's folder: listed in the datastore, never downloaded."""

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

MLFLOW_MODEL_FILE = "MLmodel"

_DATASTORE_URI = re.compile(r"^azureml://(?:.*/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)$")


@dataclass(frozen=True)
class ModelFolder:
    """What lies in a folder."""

    uri: str
    files: int
    size_bytes: int
    mlmodel_bytes: int | None
    """Size of `MLmodel`; None where there is none."""
    exists: bool = True
    """False where the datastore or its container does not."""

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
            return f"{self.uri} is empty"
        lacks = "no" if self.mlmodel_bytes is None else "an empty"
        return f"{self.uri} holds {size}, but {lacks} {MLFLOW_MODEL_FILE}"


def is_datastore_uri(uri: str) -> bool:
    """Whether the uri says in which datastore, and where there; `${{...}}` is still to be replaced by the service."""
    return "${{" not in uri and _DATASTORE_URI.match(uri) is not None


def place_of(uri: str) -> tuple[str, str]:
    """The datastore, and the names of the folder's blobs up to and with the slash."""
    match = _DATASTORE_URI.match(uri)
    assert match, f"{uri} is no datastore uri"
    return match["datastore"], match["path"].rstrip("/") + "/"


def list_folder(ws: Workspace, uri: str, log: Log = silent) -> ModelFolder:
    """What lies under a datastore uri, in the short or the long form.

    Raises:
        StorageRefused: the storage account takes no keys, or does not let this identity read.
    """
    datastore, prefix = place_of(uri)
    shown = f"azureml://datastores/{datastore}/paths/{prefix}"

    def walk() -> ModelFolder:
        files = size = 0
        mlmodel_bytes: int | None = None
        with container_of(ws, datastore) as container:
            for blob in container.list_blobs(name_starts_with=prefix):
                files += 1
                size += blob.size or 0
                if blob.name == f"{prefix}{MLFLOW_MODEL_FILE}":
                    mlmodel_bytes = blob.size or 0
        return ModelFolder(shown, files, size, mlmodel_bytes)

    try:
        return ride_out(walk, f"folder {shown}", log)
    except ResourceNotFoundError:
        return ModelFolder(shown, 0, 0, None, exists=False)
    except HttpResponseError as error:
        advice = storage_advice(error)
        if not advice:
            raise
        raise StorageRefused(f"{shown} cannot be listed: {one_line(error)}. {advice}") from error


def _human(size_bytes: int) -> str:
    """`812 bytes`, `4.5 MB`, `7.6 GB`; decimal units, as Studio shows them."""
    for unit, divisor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= divisor:
            return f"{size_bytes / divisor:.1f} {unit}"
    return f"{size_bytes} bytes"


def container_of(ws: Workspace, name: str) -> "ContainerClient":
    """A client of the datastore's container, with the datastore's own key or signature, else as the signed-in one."""
    from azure.storage.blob import ContainerClient

    datastore: Any = ws.ml.datastores.get(name, include_secrets=True)
    secrets = datastore.credentials
    credential = getattr(secrets, "sas_token", None) or getattr(secrets, "account_key", None) or ws.credential
    account = f"{datastore.protocol or 'https'}://{datastore.account_name}.blob.{datastore.endpoint}"
    return ContainerClient(account, datastore.container_name, credential=credential)
