"""From the model id in a deployment to the folder with the model's files."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phi_assets.emulator.serving.inference.flavours import FOUNDATION, Flavour, flavour_of
from phi_assets.emulator.serving.logs import DeploymentLogs, Stage
from phi_assets.emulator.serving.rules import bad_argument
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import ServiceError, not_found
from phi_assets.emulator.workspace import assets
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.datastores import datastore_path
from phi_assets.emulator.workspace.locations import code_folder
from phi_assets.emulator.workspace.model_files import require_same_files

_NAME = r"(?P<name>[A-Za-z0-9][\w.-]*)"
_VERSION = r"(?P<version>[\w.-]+)"
_ASSET = rf"/models/{_NAME}/versions/{_VERSION}"
_GROUP = r"subscriptions/[^/]+/resourceGroups/[^/]+(?:/providers/[^/]+)?"
_WORKSPACE_IDS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:azureml:/?)?/{_GROUP}/workspaces/(?P<workspace>[^/]+){_ASSET}",
        rf"azureml://{_GROUP}/workspaces/(?P<workspace>[^/]+){_ASSET}",
        rf"azureml://locations/[^/]+/workspaces/[^/]+{_ASSET}",
        rf"(?:azureml:)?{_NAME}:{_VERSION}",
        rf"(?:azureml:)?{_NAME}@(?P<label>latest)",
    )
]


def check_model_exists(emulator: Emulator, model: Any) -> None:
    """Refuses a model id that means nothing in this workspace or its registries.

    Raises:
        ServiceError: 400 for something that is no model id, 404 for one of a model that does not exist.
    """
    try:
        _locate(emulator, model)
    except ServiceError as error:
        if error.status != 404:
            raise
        message = f"The model {model} of the deployment does not exist: {error.message}"
        raise ServiceError(404, "ResourceNotFound", message, details=error.details) from error


def scoring_script(emulator: Emulator, properties: Mapping[str, Any]) -> tuple[Path, str]:
    """The folder of the deployment's own code, and the scoring script in it.

    Raises:
        ServiceError: 404 if the code is not there, 400 if the script is not in it.
    """
    configuration = properties["codeConfiguration"]
    folder, script = code_folder(emulator, configuration["codeId"], "The deployment"), configuration["scoringScript"]
    path = (folder / script).resolve()
    if not (path.is_relative_to(folder.resolve()) and path.is_file()):
        raise bad_argument(f"the scoring script '{script}' is not in the code of the deployment.")
    return folder, script


def fetch_model(emulator: Emulator, model: str, logs: DeploymentLogs, *, has_script: bool = False) -> Path:
    """The folder of the MLflow model; the logs tell what the storage initializer does.

    With a scoring script of its own the model may be of any kind, and a single file.

    Raises:
        ServiceError: `BadArgument` if the model's files are gone or are not an MLflow model with a python_function.
    """
    say = logs.initializer
    for stage in (Stage.SYSTEM, Stage.IMAGE):
        logs.progress(stage, "Succeeded")
    logs.event("Pulled", "No image is built or pulled: the environment is the emulator's own Python environment")
    logs.progress(Stage.MODEL, "InProgress")
    logs.event("Downloading", "Start downloading models")
    say(f"Resolving the model {model}")
    try:
        folder = _locate(emulator, model)()
        if not (folder.exists() if has_script else folder.is_dir()):
            raise bad_argument(f"the files of {model} are gone (expected in {folder}).")
        require_registered_files(emulator, model, folder)
        if not has_script:
            _check_is_mlflow(folder, model)
    except ServiceError as error:
        say(f"Failed: {error.message}")
        logs.progress(Stage.MODEL, "Failed")
        logs.event(
            "DownloadFailed", "Model download failed. Please check storage-initializer log for detail.", "Warning"
        )
        raise ServiceError(400, "BadArgument", f"The model could not be downloaded: {error.message}") from error
    files = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    say(f"{len(files)} files, {sum(path.stat().st_size for path in files):,} bytes in {folder}")
    logs.progress(Stage.MODEL, "Succeeded")
    logs.event("Downloaded", "Models are downloaded successfully or no model need to download")
    return folder


def require_registered_files(emulator: Emulator, model: str, folder: Path) -> None:
    """Raises ServiceError 400 if a registered model is to be served with other files than it was registered with.

    `folder` is the model's, or, for a scoring script, the one in which that lies. One of another model passes, as does
    a model that is no longer registered: what is deployed stays deployed.
    """
    if emulator.catalog.is_registry_id(model):
        return
    try:
        document = _registered(emulator, model)
    except ServiceError:
        document = None
    root = None if document is None else _folder(emulator, document["properties"]["modelUri"])
    if document is not None and root is not None and folder in {root, root.parent}:
        require_same_files(emulator, document["name"], document["version"], root)


def flavour_of_model(emulator: Emulator, model: str, folder: Path) -> Flavour:
    """How a deployment of the model answers.

    A registry's model that lists `vllm` among its environments is served by the container for foundation models, since
    its importer has written that image into its metadata:
    https://github.com/Azure/azureml-assets/tree/main/assets/training/model_management. Any other says it itself.
    """
    if emulator.catalog.is_registry_id(model):
        spec = emulator.catalog.resolve(model, kind="models").spec
        tags, metadata = spec.get("tags") or {}, spec.get("system_metadata") or {}
        if "vllm" in f"{tags.get('inference_supported_envs')} {metadata.get('inferenceSupportedEnvs')}":
            return FOUNDATION
    return flavour_of(folder)


def _check_is_mlflow(folder: Path, model: str) -> None:
    definition = folder / "MLmodel"
    if not definition.is_file():
        raise bad_argument(
            f"{model} is not an MLflow model: it has no file MLmodel. Any other model needs a scoring script: "
            "set 'code_configuration'."
        )
    if "python_function" not in definition.read_text(encoding="utf-8"):
        raise bad_argument(f"the MLflow model {model} has no python_function flavor, so it cannot be served.")


def _locate(emulator: Emulator, model: Any) -> Callable[[], Path]:
    """A function that finds the folder; the model itself is known to exist."""
    if isinstance(model, str) and emulator.catalog.is_registry_id(model):
        asset = emulator.catalog.resolve(model, kind="models")
        return lambda: asset.folder
    document = _registered(emulator, model)
    if document is not None:
        uri = document["properties"]["modelUri"]
        return lambda: _folder(emulator, uri)
    raise bad_argument(
        f"{model!r} is not a model id. Use the id of a registered model, 'azureml:<name>:<version>' or "
        "'azureml://registries/<registry>/models/<name>/versions/<version>'."
    )


def _registered(emulator: Emulator, model: Any) -> Document | None:
    """The version of the workspace that an id means; None if it is no such id. Raises ServiceError 404."""
    for pattern in _WORKSPACE_IDS:
        match = pattern.fullmatch(model) if isinstance(model, str) else None
        if match is not None:
            return _version(emulator, match.groupdict())
    return None


def _version(emulator: Emulator, parts: dict[str, str | None]) -> Document:
    workspace, name, version = parts.get("workspace"), parts["name"] or "", parts.get("version")
    if workspace is not None and workspace.lower() != emulator.workspace_name.lower():
        raise not_found("Workspace", workspace)
    if version is not None:
        return assets.require_version(emulator, assets.MODELS, name, version)
    document = assets.latest_version(emulator, assets.MODELS, name)
    if document is None:
        raise assets.missing(assets.MODELS, name)
    return document


def _folder(emulator: Emulator, uri: str) -> Path:
    if emulator.catalog.is_registry_id(uri):
        return emulator.catalog.model_folder(uri)
    container, name = datastore_path(emulator, uri)
    return emulator.blobs.path(container, name.rstrip("/"))
