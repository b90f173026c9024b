"""Environments: images and package lists that jobs and deployments name."""

import json
from typing import Any

import yaml

from phi_assets.emulator.routes.assets.versions import asset_routes, with_changes
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import conflict, user_error
from phi_assets.emulator.wire.shapes import OBJECT, TEXT
from phi_assets.emulator.workspace.assets import ENVIRONMENTS
from phi_assets.emulator.workspace.context import Emulator

_LARGEST = 100_000
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
        # Aliases of aliases are short as YAML and endless as JSON.
        if _size(content) > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} entries")
        return json.dumps(content, indent=2, default=str)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        message = f"The conda file of environment '{environment}' is not YAML: {error}"
        raise user_error(message, "BadArgument") from error


def _size(content: Any) -> int:
    waiting, size = [content], 0
    while waiting and size <= _LARGEST:
        value = waiting.pop()
        size += 1
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return size


def _merge(document: Document, wanted: dict[str, Any]) -> dict[str, Any]:
    """An existing version keeps what it is made of; the SDK takes a 409 as the sign to make the next version."""
    if _definition(wanted) != _definition(document["properties"]):
        raise conflict(
            f"Environment '{document['name']}:{document['version']}' exists with another definition: "
            "use a new version.",
            "EnvironmentVersionImmutable",
        )
    return with_changes(document, wanted)


def _definition(properties: dict[str, Any]) -> dict[str, Any]:
    """What the environment is, however it was written: what the service shows may be sent back by a client."""
    fixed = {key: properties.get(key) for key in _FIXED}
    conda = json.loads(fixed["condaFile"]) if fixed["condaFile"] else None
    return fixed | {"condaFile": conda, "osType": str(fixed["osType"]).lower()}


routes = asset_routes(
    ENVIRONMENTS,
    _prepare,
    _merge,
    {"image": TEXT, "condaFile": TEXT, "osType": TEXT, "build": OBJECT, "inferenceConfig": OBJECT},
)
