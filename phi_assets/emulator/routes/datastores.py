"""The workspace's two blob datastores, and the key or the signatures that open them."""

from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.process import STORAGE_SUFFIX
from phi_assets.emulator.security.storage_auth import StorageAuth
from phi_assets.emulator.store.blobs import CONTAINER_OF_DATASTORE
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import not_found, user_error
from phi_assets.emulator.wire.paths import WS
from phi_assets.emulator.wire.shapes import NUMBER
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import PROVIDER, system_data

_CREATED = "2026-01-01T00:00:00.000000+00:00"
_DEFAULT = "workspaceblobstore"
_PERMISSIONS = "racwdl"
_DEFAULT_HOURS = 24
_MOST_HOURS = 24 * 365
_LIFE = {"expireAfterHours": NUMBER}
_CREDENTIALS: dict[StorageAuth, str] = {
    "keys": "AccountKey",
    "sas": "Sas",
    "identity": "None",
    "keys_refused": "AccountKey",
}


def _document(emulator: Emulator, name: str) -> dict[str, Any]:
    return {
        "id": f"{emulator.workspace_path}/datastores/{name}",
        "name": name,
        "type": f"{PROVIDER}/workspaces/datastores",
        "properties": {
            "description": None,
            "tags": None,
            "properties": None,
            "isDefault": name == _DEFAULT,
            "credentials": {"credentialsType": _CREDENTIALS[emulator.storage_auth]},
            "datastoreType": "AzureBlob",
            "accountName": emulator.storage_account,
            "containerName": CONTAINER_OF_DATASTORE[name],
            "endpoint": STORAGE_SUFFIX,
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "WorkspaceSystemAssignedIdentity" if name == _DEFAULT else "None",
        },
        "systemData": system_data(_CREATED, _CREATED),
    }


def _named(request: Request) -> str:
    name = request.path_params["name"].lower()
    if name not in CONTAINER_OF_DATASTORE:
        raise not_found("Datastore", request.path_params["name"], code="UserError", detail="DatastoreNotFound")
    return name


def _list(request: Request) -> Response:
    only = request.query_params.get("isDefault", "").lower()
    names = [name for name in CONTAINER_OF_DATASTORE if only in {"", str(name == _DEFAULT).lower()}]
    return JSONResponse({"value": [_document(request.app.state.emulator, name) for name in names]})


def _get(request: Request) -> Response:
    return JSONResponse(_document(request.app.state.emulator, _named(request)))


def _list_secrets(request: Request, body: Any) -> Response:
    """The account's key; or a signature for the container, good for `expireAfterHours` (24 unless asked otherwise)."""
    emulator: Emulator = request.app.state.emulator
    container = CONTAINER_OF_DATASTORE[_named(request)]
    kind = _CREDENTIALS[emulator.storage_auth]
    if kind == "None":
        raise user_error(f"Datastore {_named(request)} has no credentials: it is opened by identity.", "BadArgument")
    if kind == "AccountKey":
        return JSONResponse({"secretsType": kind, "key": emulator.account_key.text})
    hours = (body or {}).get("expireAfterHours") or _DEFAULT_HOURS
    if not isinstance(hours, int) or not 0 < hours <= _MOST_HOURS:
        raise user_error(f"expireAfterHours must be between 1 and {_MOST_HOURS}.", "BadArgument/ArgumentInvalid")
    expiry = emulator.clock.now() + timedelta(hours=hours)
    sas = emulator.account_key.sign_sas(container, "", _PERMISSIONS, expiry)
    return JSONResponse({"secretsType": kind, "sasToken": sas})


routes = [
    Route(WS + "/datastores", _list),
    Route(WS + "/datastores/{name}", _get),
    Route(WS + "/datastores/{name}/listsecrets", with_json(_list_secrets, _LIFE), methods=["POST"]),
]
