"""Environments: images and package lists that jobs and deployments name."""

import json
from typing import Any

import yaml

from phi_assets.emulator.routes.assets.versions import asset_routes, with_changes
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import conflict, user_error
from phi_assets.emulator.workspace.assets import ENVIRONMENTS
from phi_assets.emulator.workspace.context import Emulator

_FIXED = ("image", "condaFile", "build", "inferenceConfig", "osType")


def _prepare(emulator: Emulator, name: str, version: str, sent: dict[str, Any]) -> dict[str, Any]:
    if not sent.get("image") and not sent.get("build"):
        message = f"Environment '{name}:{version}' needs an image or a build context."
        raise user_error(message, "BadArgument/ArgumentInvalid")
    kept = sent | {
        "isAnonymous": bool(sent.get("isAnonymous")),
        "osType": sent.get("osType") or "Linux",
        "environmentType": "UserCreated",
    }
    if sent.get("condaFile"):
        kept["condaFile"] = _conda_as_json(f"{name}:{version}", sent["condaFile"])
    return kept


def _conda_as_json(environment: str, text: str) -> str:
    """The service takes YAML and answers JSON."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise user_error(
            f"The conda file of environment '{environment}' is not YAML: {error}", "BadArgument"
        ) from error
    return json.dumps(content, indent=2)


def _merge(document: Document, wanted: dict[str, Any]) -> dict[str, Any]:
    """An existing version keeps what it is made of; the SDK takes a 409 as the sign to make the next version."""
    if any(wanted.get(key) != document["properties"].get(key) for key in _FIXED):
        raise conflict(
            f"Environment '{document['name']}:{document['version']}' exists with another definition: "
            "use a new version.",
            "EnvironmentVersionImmutable",
        )
    return with_changes(document, wanted)


routes = asset_routes(ENVIRONMENTS, _prepare, _merge)
