"""Samples as data assets: uploaded once per content, found again by their hash."""

from pathlib import Path
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import DataUploadFailed
from phi_assets.azureml.connection.retry import Log, find, one_line, silent
from phi_assets.azureml.connection.storage_access import storage_advice
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.storage.datastores import is_datastore_uri, uri_of
from phi_assets.dataset.errors import DatasetError
from phi_assets.fingerprint import file_sha256
from phi_assets.refs import Action, DataRef, SampleRef


def ensure_data_asset(
    ws: Workspace, name: str, sample: SampleRef, log: Log = silent, *, owner: Owner | None = None
) -> DataRef:
    """Data asset `name` has a version with the sample's JSON Lines file, version being the start of its SHA-256.

    Nothing is read from disk or sent where that version exists, or where the file lies in a datastore of the workspace,
    whose path is registered then; nothing is sent where the file has been uploaded under another name. A file is never
    in memory as a whole. An upload that was broken off is done again: the SDK takes a blob for complete only once it
    carries the mark that is put on it after its last byte. A version that is there is used whoever has made it, as it
    is told by its content and cannot be changed; `owner` is written on a new one, the project's unless one is given.

    Raises:
        DataUploadFailed: the file is missing or is not what the sample says, or the upload or the registration failed.
    """
    version = data_version(sample)
    existing = _get(ws, name, version, log)
    if existing is not None:
        log(f"Data asset {name}:{version} is already there; nothing uploaded.")
        return _ref(existing, "reused", f"Version {version} of {name} has this content.")
    path = _content(ws, sample)
    what = f"{sample.size_bytes:,} bytes, {sample.rows:,} rows"
    if is_datastore_uri(path):
        log(f"Registering {path} ({what}) as data asset {name}:{version}, in place: nothing is uploaded.")
    else:
        log(f"Uploading {Path(path).name} ({what}) as data asset {name}:{version}.")
    try:
        written = write(
            f"Data asset {name}:{version}",
            look=lambda: _get(ws, name, version, log),
            send=lambda _: ws.ml.data.create_or_update(_entity(name, sample, path, owner or ws.owner())),
            is_done=lambda asset: asset is not None,
            log=log,
        )
    except Exception as error:
        # The SDK raises a bare Exception where storage takes no keys.
        if not isinstance(error, AzureError | OSError) and not storage_advice(error):
            raise
        raise DataUploadFailed(
            f"Data asset {name}:{version} could not be uploaded from {path}: {one_line(error)}. "
            + (storage_advice(error) or "Run again: what has been uploaded is kept.")
        ) from error
    if written.found is None:
        raise DataUploadFailed(f"Data asset {name}:{version} was registered but cannot be read back; run again.")
    if not written.by_us:
        return _ref(written.found, "reused", f"Somebody else registered version {version} of {name} meanwhile.")
    return _ref(written.found, "created", f"No version of {name} had this content.")


def _content(ws: Workspace, sample: SampleRef) -> str:
    """Where the sample's JSON Lines file lies: the path in a datastore of the workspace, or one on this machine's disk.

    Raises:
        DataUploadFailed: it is missing or is not what the sample says.
    """
    again = f"Materialize sampled_{sample.split} again."
    try:
        if not sample.jsonl.is_there:
            raise DataUploadFailed(f"Sample {sample.split} is missing at {sample.jsonl}. {again}")
        uri = uri_of(ws, str(sample.jsonl))
        # A version that says one content and holds another could never be mended: versions are immutable. What lies
        # in object storage was hashed before it was sent, and its name says that hash.
        if uri and sample.jsonl.sha256 == sample.sha256:
            return uri
        path = Path(sample.jsonl)
    except DatasetError as error:
        raise DataUploadFailed(f"Sample {sample.split} cannot be had: {error}") from error
    if file_sha256(path) != sample.sha256:
        raise DataUploadFailed(f"Sample {sample.split} at {path} has changed since it was written. {again}")
    return str(path)


def data_version(sample: SampleRef) -> str:
    """The version under which a sample's content is registered."""
    return sample.sha256[:12]


def _entity(name: str, sample: SampleRef, path: str, owner: Owner) -> Any:
    module = sdk()
    return module.entities.Data(
        name=name,
        version=data_version(sample),
        type=module.constants.AssetTypes.URI_FILE,
        path=path,
        description=f"Sample {sample.split}: {sample.rows:,} of the {sample.rows_total:,} rows of its raw split",
        tags={
            **owner.tags,
            "phi/sha256": sample.sha256,
            "phi/split": sample.split,
            "phi/rows": str(sample.rows),
            "phi/rows_total": str(sample.rows_total),
            "phi/rows_quarantined": str(sample.rows_quarantined),
        },
    )


def _get(ws: Workspace, name: str, version: str, log: Log) -> Any:
    return find(lambda: ws.ml.data.get(name, version), f"data asset {name}", log)


def _ref(asset: Any, action: Action, reason: str) -> DataRef:
    return DataRef(id=str(asset.id), name=str(asset.name), version=str(asset.version), action=action, reason=reason)
