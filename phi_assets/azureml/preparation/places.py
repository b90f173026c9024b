"""Files in the workspace's storage: small ones that a job is told by, and those that it has written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import StorageRefused
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent
from phi_assets.azureml.connection.storage_access import storage_advice
from phi_assets.azureml.models.folders import container_of, place_of
from phi_assets.azureml.storage.datastores import uri_of
from phi_assets.dataset.errors import DatasetError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient


def in_datastore(ws: Workspace, url: str) -> str:
    """The datastore uri of what lies at the URL.

    Raises:
        DatasetError: it is in no datastore of the workspace.
    """
    uri = uri_of(ws, url)
    if uri is None:
        raise DatasetError(
            f"dataset.prepare is `cluster`, and {url} lies in no datastore of workspace {ws.name}: set PHI_DATA to a "
            "path in one, such as azureml://datastores/workspaceblobstore/paths/phi-data, or prepare `here`"
        )
    return uri


def put_folder(ws: Workspace, folder: Path, uri: str, log: Log = silent) -> None:
    """Every file of the folder lies under the datastore uri, which names the content: what is there is not sent again.

    Raises:
        StorageRefused: the storage account does not let this identity write.
    """
    datastore, prefix = place_of(uri)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = f"{prefix}{file.relative_to(folder).as_posix()}"
        with _opened(ws, datastore, uri) as container:
            ride_out(lambda name=name, file=file: _put(container, name, file), name, log)


def sizes_below(ws: Workspace, uri: str, log: Log = silent) -> dict[str, int]:
    """The files below a datastore uri by their names there, with their bytes; none where there is no such place.

    Raises:
        StorageRefused: the storage account does not let this identity read.
    """
    datastore, prefix = place_of(uri)

    def walk() -> dict[str, int]:
        with _opened(ws, datastore, uri) as container:
            found = container.list_blobs(name_starts_with=prefix)
            return {blob.name.removeprefix(prefix): blob.size or 0 for blob in found}

    try:
        return ride_out(walk, f"folder {uri}", log)
    except ResourceNotFoundError:
        return {}


def read_file(ws: Workspace, uri: str, name: str, log: Log = silent) -> bytes | None:
    """What a file below a datastore uri holds; None where there is none.

    Raises:
        StorageRefused: the storage account does not let this identity read.
    """
    datastore, prefix = place_of(uri)

    def read() -> bytes:
        with _opened(ws, datastore, uri) as container:
            return container.download_blob(f"{prefix}{name}").readall()

    try:
        return ride_out(read, f"{uri}{name}", log)
    except ResourceNotFoundError:
        return None


def _put(container: "ContainerClient", name: str, file: Path) -> None:
    try:
        with file.open("rb") as content:
            container.upload_blob(name, content, overwrite=False)
    except ResourceExistsError:
        return


@contextmanager
def _opened(ws: Workspace, datastore: str, uri: str) -> "Iterator[ContainerClient]":
    try:
        with container_of(ws, datastore) as container:
            yield container
    except ResourceNotFoundError:
        raise
    except HttpResponseError as error:
        advice = storage_advice(error)
        if not advice:
            raise
        raise StorageRefused(f"{uri} cannot be reached: {one_line(error)}. {advice}") from error
