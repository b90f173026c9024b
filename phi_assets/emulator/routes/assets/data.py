"""Data assets."""

from typing import Any

from phi_assets.emulator.routes.assets.versions import asset_routes, with_changes
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import user_error
from phi_assets.emulator.wire.shapes import TEXT
from phi_assets.emulator.workspace.assets import DATA
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.locations import long_uri

_TYPES = {"uri_file", "uri_folder", "mltable"}


def _prepare(emulator: Emulator, name: str, version: str, sent: dict[str, Any]) -> dict[str, Any]:
    uri, type_ = sent.get("dataUri"), sent.get("dataType")
    if not isinstance(uri, str) or not uri:
        raise user_error(f"Data asset '{name}:{version}' has no dataUri.", "BadArgument/ArgumentInvalid")
    if type_ not in _TYPES:
        raise user_error(
            f"The dataType '{type_}' is none of {', '.join(sorted(_TYPES))}.", "BadArgument/ArgumentInvalid"
        )
    place = long_uri(emulator, uri)
    if type_ != "uri_file" and place.startswith("azureml://subscriptions/"):
        place = place.rstrip("/") + "/"  # as the service shows folders of datastores
    return sent | {"dataUri": place, "isAnonymous": bool(sent.get("isAnonymous"))}


def _merge(document: Document, wanted: dict[str, Any]) -> dict[str, Any]:
    for key in ("dataUri", "dataType"):
        if wanted[key].rstrip("/") != document["properties"][key].rstrip("/"):
            raise user_error(
                f"Data asset '{document['name']}:{document['version']}' exists with another {key}. A version is "
                "immutable: only description, tags and isArchived can change; create a new version instead.",
                "Immutable/DataVersionPropertyImmutable",
            )
    return with_changes(document, wanted)


routes = asset_routes(DATA, _prepare, _merge, {"dataUri": TEXT, "dataType": TEXT})
