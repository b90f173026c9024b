"""What lies in a model's folder: listed in the datastore, never downloaded."""

from dataclasses import dataclass

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import StorageRefused
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent
from phi_assets.azureml.connection.storage_access import storage_advice
from phi_assets.azureml.storage.datastores import container_of, place_of

MLFLOW_MODEL_FILE = "MLmodel"


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
