"""A registered model on this machine: its folder, whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ModelNotFound, StorageRefused
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent
from phi_assets.azureml.connection.storage_access import storage_advice
from phi_assets.azureml.storage.datastores import container_of, is_datastore_uri, place_of

_AT_ONCE = 4
"""Ranges of one file that are read at a time."""


def newest_version(ws: Workspace, name: str, log: Log = silent) -> str:
    """The newest version of the workspace's model.

    Raises:
        ModelNotFound: there is none.
    """
    try:
        found: list[Any] = ride_out(lambda: list(ws.ml.models.list(name)), f"versions of {name}", log)
    except ResourceNotFoundError:
        found = []
    versions = [str(model.version) for model in found]
    if not versions:
        raise ModelNotFound(f"Workspace {ws.name} has no model {name}: materialize registered_model first.")
    return max(versions, key=lambda version: (version.isdigit(), int(version) if version.isdigit() else 0, version))


def export_model(
    ws: Workspace,
    name: str,
    version: str,
    to: Path,
    log: Log = silent,
    on_file: Callable[[str, int], None] = lambda _name, _size: None,
) -> Path:
    """`to` holds the files of the model version, as the workspace's storage has them; `to` itself is returned.

    The folder comes to its name once it is whole: an export that was ended leaves nothing there. `on_file` is called
    with the name and the size of each file once it is here.

    Raises:
        ModelNotFound: there is no such version, it does not say where it lies, or nothing is there.
        FileExistsError: something is at `to` already.
        StorageRefused: the storage account takes no keys, or does not let this identity read.
    """
    if to.exists():
        raise FileExistsError(f"{to} is there already; name another folder")
    what = f"Model {name}:{version}"
    try:
        model: Any = ride_out(lambda: ws.ml.models.get(name, version=version), what, log)
    except ResourceNotFoundError as error:
        raise ModelNotFound(f"Workspace {ws.name} has no model {name}:{version}.") from error
    uri = str(model.path or "")
    if not is_datastore_uri(uri):
        raise ModelNotFound(f"{what} lies at {uri or 'a place that the service does not name'}; look in Studio.")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as scratch:
        folder = Path(scratch) / "model"
        try:
            files = _download(ws, uri, folder, on_file)
        except HttpResponseError as error:
            raise StorageRefused(f"{what} cannot be read: {one_line(error)}. {storage_advice(error)}") from error
        if not files:
            raise ModelNotFound(f"{what} is said to lie at {uri}, and nothing is there.")
        os.replace(folder, to)
    return to


def _download(ws: Workspace, uri: str, folder: Path, on_file: Callable[[str, int], None]) -> int:
    datastore, prefix = place_of(uri)
    count = 0
    with container_of(ws, datastore) as container:
        for blob in container.list_blobs(name_starts_with=prefix):
            target = (folder / blob.name.removeprefix(prefix)).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise ModelNotFound(f"{blob.name} would be written outside the folder; nothing was kept.")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                container.download_blob(blob.name, max_concurrency=_AT_ONCE, validate_content=True).readinto(file)
            if target.stat().st_size != blob.size:
                raise ModelNotFound(f"{blob.name} changed while it was read; nothing was kept. Run again.")
            on_file(target.name, target.stat().st_size)
            count += 1
    return count
