"""Components of the workspace: commands with code and environment, and pipelines of them."""

from typing import Any

from phi_assets.emulator.routes.assets.versions import asset_routes, with_changes
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.wire.shapes import OBJECT, TEXT, Each, Fields
from phi_assets.emulator.workspace.assets import COMPONENTS
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.locations import check_environment, code_folder
from phi_assets.emulator.workspace.resources import as_text

_TYPES = ("command", "pipeline")
_SPEC: Fields = {
    "type": TEXT,
    "command": TEXT,
    "code": TEXT,
    "environment": TEXT,
    "inputs": Each(OBJECT),
    "outputs": Each(OBJECT),
    "jobs": Each(OBJECT),
    "resources": OBJECT,
}
_SHOWN = ("description", "display_name", "tags")
"""What of a definition people read only: it may change."""
_INVALID = "BadArgument/ArgumentInvalid"


def _prepare(emulator: Emulator, name: str, version: str, sent: dict[str, Any]) -> dict[str, Any]:
    spec, where = sent.get("componentSpec"), f"Component '{name}:{version}'"
    if not isinstance(spec, dict):
        raise user_error(f"{where} has no componentSpec.", _INVALID)
    kind = str(spec.get("type") or "command")
    if kind not in _TYPES:
        message = f"{where} is of type '{kind}'; this emulator has components of type {' and '.join(_TYPES)} only."
        raise ServiceError(501, "NotImplemented", message)
    kept = as_text({key: value for key, value in spec.items() if key != "_source"})
    if sent.get("isAnonymous"):  # such a component keeps the name that its author gave it
        name, version = kept.get("name", name), kept.get("version", version)
    kept |= {"name": name, "version": version, "type": kind}
    if kind == "command":
        _check_command(emulator, kept, where)
        kept["resources"] = {"instance_count": "1"} | kept.get("resources", {})
    for declared in kept.get("inputs", {}).values():
        declared.setdefault("optional", "False")
    for output in kept.get("outputs", {}).values():
        output.pop("mode", None)  # as recorded
    return sent | {"componentSpec": kept, "description": None, "isAnonymous": bool(sent.get("isAnonymous"))}


def _check_command(emulator: Emulator, spec: dict[str, Any], where: str) -> None:
    if not spec.get("command"):
        raise user_error(f"{where} has no command.", _INVALID)
    if not spec.get("environment"):
        raise user_error(f"{where} has no environment.", _INVALID)
    check_environment(emulator, spec["environment"], where)
    if spec.get("code"):
        code_folder(emulator, spec["code"], where)


def _merge(document: Document, wanted: dict[str, Any]) -> dict[str, Any]:
    if _definition(wanted) != _definition(document["properties"]):
        raise user_error(
            f"Component '{document['name']}:{document['version']}' exists with another definition: use a new version. "
            f"Only its {', '.join(_SHOWN)} can change.",
            "Immutable/ComponentVersionPropertyImmutable",
        )
    return with_changes(document, wanted) | {"componentSpec": wanted["componentSpec"]}


def _definition(properties: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in properties["componentSpec"].items() if key not in {*_SHOWN, "name", "version"}}


routes = asset_routes(COMPONENTS, _prepare, _merge, {"componentSpec": _SPEC})
