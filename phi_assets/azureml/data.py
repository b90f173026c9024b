"""Samples as data assets: uploaded once per content, found again by their hash."""

from pathlib import Path
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError

from phi_assets.azureml.client import Workspace, sdk, without_sdk_chatter
from phi_assets.azureml.errors import DataUploadFailed
from phi_assets.azureml.retry import Log, get_or_none, one_line, ride_out, silent
from phi_assets.refs import Action, DataRef, SampleRef


def ensure_data_asset(ws: Workspace, name: str, sample: SampleRef, log: Log = silent) -> DataRef:
    """Data asset `name` has a version with the sample's JSON Lines file, version being the start of its SHA-256.

    Nothing is read from disk or sent where that version exists.

    Raises:
        DataUploadFailed: the file is missing, or the upload or the registration failed.
    """
    version = data_version(sample)
    existing = ride_out(lambda: _get(ws, name, version), f"data asset {name}", log)
    if existing is not None:
        log(f"Data asset {name}:{version} is already there; nothing uploaded.")
        return _ref(existing, "reused")
    path = Path(sample.jsonl)
    if not path.is_file():
        raise DataUploadFailed(f"Sample {sample.split} is missing at {path}. Materialize sampled/{sample.split} again.")
    log(f"Uploading {path.name} ({sample.size_bytes:,} bytes, {sample.rows:,} rows) as data asset {name}:{version}.")
    module = sdk()
    wanted = module.entities.Data(
        name=name,
        version=version,
        type=module.constants.AssetTypes.URI_FILE,
        path=str(path),
        description=f"{sample.rows} of {sample.rows_total} rows of {sample.split}",
        tags={"phi/sha256": sample.sha256, "phi/split": sample.split, "phi/rows": str(sample.rows)},
    )
    try:
        with without_sdk_chatter():
            ws.ml.data.create_or_update(wanted)
    except (AzureError, module.exceptions.MlException) as error:
        # Somebody else may have registered the same content meanwhile, which is as good.
        if not isinstance(error, HttpResponseError) or _get(ws, name, version) is None:
            raise DataUploadFailed(
                f"Data asset {name}:{version} could not be uploaded from {path}: {one_line(error)}. Run again: what "
                "has been uploaded is kept."
            ) from error
    created = _get(ws, name, version)
    if created is None:
        raise DataUploadFailed(f"Data asset {name}:{version} was registered but cannot be read back; run again.")
    return _ref(created, "created")


def data_version(sample: SampleRef) -> str:
    """The version under which a sample's content is registered."""
    return sample.sha256[:12]


def _get(ws: Workspace, name: str, version: str) -> Any:
    return get_or_none(lambda: ws.ml.data.get(name, version))


def _ref(asset: Any, action: Action) -> DataRef:
    return DataRef(id=str(asset.id), name=str(asset.name), version=str(asset.version), action=action)
