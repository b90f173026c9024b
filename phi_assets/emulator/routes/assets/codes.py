"""Code snapshots of command jobs."""

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.routes.assets.versions import asset_routes, with_changes
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import user_error
from phi_assets.emulator.wire.paths import WS
from phi_assets.emulator.wire.shapes import TEXT
from phi_assets.emulator.workspace.assets import CODES
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import check_asset_name

_PERMISSIONS = "racwl"
_HOURS = 24


def _prepare(emulator: Emulator, name: str, version: str, sent: dict[str, Any]) -> dict[str, Any]:
    if not sent.get("codeUri"):
        raise user_error(f"Code '{name}:{version}' has no codeUri.", "BadArgument/ArgumentInvalid")
    return sent | {"isAnonymous": False}


def _merge(document: Document, wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["codeUri"] != document["properties"]["codeUri"]:
        raise user_error("Asset paths cannot be updated.", "Immutable/CodeVersionPropertyImmutable")
    return with_changes(document, wanted)


def _start_pending_upload(request: Request, body: Any) -> Response:
    """A container of its own for the snapshot, and a signature to fill it."""
    emulator: Emulator = request.app.state.emulator
    name, version = request.path_params["name"], request.path_params["version"]
    check_asset_name(name, version)
    container = "code-" + hashlib.sha256(f"{name}/{version}".encode()).hexdigest()[:32]
    emulator.blobs.create_container(container)
    answer = {
        "pendingUploadId": None,
        "pendingUploadType": "TemporaryBlobReference",
        "blobReferenceForConsumption": {
            "blobUri": emulator.blob_url(container),
            "storageAccountArmId": None,
            "credential": {
                "credentialType": "SAS",
                "sasUri": emulator.sas_url(container, "", _PERMISSIONS, _HOURS),
            },
        },
    }
    return JSONResponse(answer)


routes = [
    Route(
        WS + "/codes/{name}/versions/{version}/startpendingupload", with_json(_start_pending_upload), methods=["POST"]
    ),
    *asset_routes(CODES, _prepare, _merge, {"codeUri": TEXT}),
]
