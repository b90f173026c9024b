"""Registered models."""

import re
from typing import Any

import yaml

from phi_assets.emulator.routes.assets.versions import asset_routes, with_changes
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import user_error
from phi_assets.emulator.wire.shapes import OBJECT, TEXT
from phi_assets.emulator.workspace.assets import MODELS, find_version
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.datastores import datastore_path
from phi_assets.emulator.workspace.locations import resolve_uri
from phi_assets.emulator.workspace.model_files import remember_files

_TYPES = {"custom_model", "mlflow_model", "triton_model"}
_VERSION = re.compile(r"[1-9][0-9]*")
_INVALID = "BadArgument/ArgumentInvalid"


def _prepare(emulator: Emulator, name: str, version: str, sent: dict[str, Any]) -> dict[str, Any]:
    """The model with its uri resolved, its files checked and, for an MLflow model, its flavors read."""
    if not _VERSION.fullmatch(version):
        raise user_error(f"The version of model '{name}' must be a positive integer, not '{version}'.", _INVALID)
    uri, type_ = sent.get("modelUri"), sent.get("modelType") or "custom_model"
    if not isinstance(uri, str) or not uri:
        raise user_error(f"Model '{name}:{version}' has no modelUri.", _INVALID)
    if type_ not in _TYPES:
        raise user_error(f"The modelType '{type_}' is none of {', '.join(sorted(_TYPES))}.", _INVALID)
    resolved, job = resolve_uri(emulator, uri)
    properties = sent | {"modelUri": resolved, "modelType": type_, "isAnonymous": bool(sent.get("isAnonymous"))}
    properties["jobName"] = job or sent.get("jobName")
    properties["flavors"] = sent.get("flavors") or {}
    if resolved.startswith("azureml://") and "/datastores/" in resolved:
        _check_files(emulator, f"{name}:{version}", resolved)
        if type_ == "mlflow_model":
            properties["flavors"] = _flavors(emulator, f"{name}:{version}", resolved)
        if find_version(emulator, MODELS, name, version) is None:
            container, place = datastore_path(emulator, resolved)
            remember_files(emulator, name, version, emulator.blobs.path(container, place.rstrip("/")))
    return properties


def _merge(document: Document, wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["modelUri"].rstrip("/") != document["properties"]["modelUri"].rstrip("/"):
        raise user_error("Asset paths cannot be updated.", "Immutable/ModelVersionPropertyImmutable")
    return with_changes(document, wanted)


def _check_files(emulator: Emulator, model: str, uri: str) -> None:
    container, name = datastore_path(emulator, uri)
    if emulator.blobs.exists(container, name.rstrip("/")) or emulator.blobs.list(container, name.rstrip("/") + "/"):
        return
    raise user_error(
        f"Model '{model}' cannot be registered: there are no files at {uri}.", "BadArgument/ModelFilesNotFound"
    )


def _flavors(emulator: Emulator, model: str, uri: str) -> dict[str, Any]:
    """The flavors of the MLmodel file, every value as text, as the service gives them."""
    container, name = datastore_path(emulator, uri)
    definition = f"{name.rstrip('/')}/MLmodel"
    if not emulator.blobs.exists(container, definition):
        raise user_error(
            f"Model '{model}' is not an MLflow model: there is no MLmodel file in {uri}.",
            "BadArgument/InvalidMLflowModel",
        )
    try:
        content = yaml.safe_load(emulator.blobs.path(container, definition).read_text(encoding="utf-8"))
        flavors = content["flavors"]
        return {
            flavor: {"data": {key: _text(value) for key, value in data.items()}} for flavor, data in flavors.items()
        }
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise user_error(
            f"The MLmodel file of model '{model}' cannot be read: {error}", "BadArgument/InvalidMLflowModel"
        ) from error


def _text(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()
    )


routes = asset_routes(
    MODELS, _prepare, _merge, {"modelUri": TEXT, "modelType": TEXT, "jobName": TEXT, "flavors": OBJECT}
)
