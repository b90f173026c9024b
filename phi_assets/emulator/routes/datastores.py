"""The workspace's blob datastores: its own two, whose keys or signatures are handed out, and those that are added."""

import re
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.process import STORAGE_SUFFIX
from phi_assets.emulator.security.storage_auth import StorageAuth
from phi_assets.emulator.store.blobs import CONTAINER_OF_DATASTORE
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import ServiceError, not_found, user_error
from phi_assets.emulator.wire.paths import WS
from phi_assets.emulator.wire.shapes import FLAG, NUMBER, TEXT, TEXTS, Fields
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.datastores import KIND, is_of_workspace
from phi_assets.emulator.workspace.resources import PROVIDER, now, properties_of, system_data

_CREATED = "2026-01-01T00:00:00.000000+00:00"
_DEFAULT = "workspaceblobstore"
_PERMISSIONS = "racwdl"
_DEFAULT_HOURS = 24
_MOST_HOURS = 24 * 365
_LIFE = {"expireAfterHours": NUMBER}
_SETTINGS: Fields = {
    "datastoreType": TEXT,
    "accountName": TEXT,
    "containerName": TEXT,
    "description": TEXT,
    "endpoint": TEXT,
    "protocol": TEXT,
    "serviceDataAccessAuthIdentity": TEXT,
    "tags": TEXTS,
    "properties": TEXTS,
    "isDefault": FLAG,
}
_SENT_CREDENTIALS: Fields = {
    "credentialsType": TEXT,
    "secrets": {"secretsType": TEXT, "key": TEXT, "sasToken": TEXT},
}
_DATASTORE: Fields = {"properties": {**_SETTINGS, "credentials": _SENT_CREDENTIALS}}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,254}")
_SECRETS = {"AccountKey": "key", "Sas": "sasToken"}
_INVALID = "BadArgument/ArgumentInvalid"
_CREDENTIALS: dict[StorageAuth, str] = {
    "keys": "AccountKey",
    "sas": "Sas",
    "identity": "None",
    "keys_refused": "AccountKey",
}


def _document(emulator: Emulator, name: str) -> dict[str, Any]:
    """Of one of the workspace's own two."""
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


def _shown(emulator: Emulator, added: Document) -> dict[str, Any]:
    """Of one that was added; the account of the workspace is shown under the address that it has now."""
    properties = added["properties"]
    account = emulator.storage_account if is_of_workspace(emulator, properties) else properties["accountName"]
    return {
        "id": f"{emulator.workspace_path}/datastores/{added['name']}",
        "name": added["name"],
        "type": f"{PROVIDER}/workspaces/datastores",
        "properties": properties
        | {"accountName": account, "isDefault": False, "credentials": {"credentialsType": added["credentials"]}},
        "systemData": system_data(added["created"], added["modified"]),
    }


def _missing(name: str) -> ServiceError:
    return not_found("Datastore", name, code="UserError", detail="DatastoreNotFound")


def _added(emulator: Emulator, name: str) -> Document:
    document = emulator.store.get(KIND, name.lower())
    if document is None:
        raise _missing(name)
    return document


def _list(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    shown = [_document(emulator, name) for name in CONTAINER_OF_DATASTORE]
    shown += [_shown(emulator, added) for added in emulator.store.list(KIND)]
    only = request.query_params.get("isDefault", "").lower()
    found = [each for each in shown if only in {"", str(each["properties"]["isDefault"]).lower()}]
    return JSONResponse({"value": found})


def _get(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["name"]
    if name.lower() in CONTAINER_OF_DATASTORE:
        return JSONResponse(_document(emulator, name.lower()))
    return JSONResponse(_shown(emulator, _added(emulator, name)))


def _put(request: Request, body: Any) -> Response:
    """Adds a blob datastore or replaces it; one of the workspace's own account has its container from now on."""
    emulator: Emulator = request.app.state.emulator
    name, sent = _changeable(request), properties_of(body)
    if not _NAME.fullmatch(name):
        raise user_error(f"The datastore name '{name}' is not valid: letters, digits and underscores only.", _INVALID)
    kind = sent.get("datastoreType")
    if kind != "AzureBlob":
        raise ServiceError(501, "NotImplemented", f"This emulator has datastores of type 'AzureBlob', not '{kind}'.")
    for field in ("accountName", "containerName"):
        if not sent.get(field):
            raise user_error(f"Datastore '{name}' has no {field}.", _INVALID)
    given = sent.get("credentials") or {}
    credentials = given.get("credentialsType") or "None"
    secret = (given.get("secrets") or {}).get(_SECRETS.get(credentials, ""))
    if credentials not in {*_SECRETS, "None"}:
        message = f"This emulator has datastores with a key, a signature or no credentials, not '{credentials}'."
        raise ServiceError(501, "NotImplemented", message)
    if credentials != "None" and not secret:
        raise user_error(f"The credentials of datastore '{name}' have no {_SECRETS[credentials]}.", _INVALID)
    kept = {"endpoint": STORAGE_SUFFIX, "protocol": "https", "serviceDataAccessAuthIdentity": "None"}
    kept |= {"description": None, "tags": None, "properties": None}
    kept |= {key: value for key, value in sent.items() if key in _SETTINGS and value is not None}
    if is_of_workspace(emulator, kept):
        emulator.blobs.create_container(sent["containerName"])
    moment = now(emulator)
    document = {"name": name, "created": moment, "modified": moment, "properties": kept}
    document |= {"credentials": credentials, "secret": secret}
    if emulator.store.create(KIND, name.lower(), document):
        shown = _shown(emulator, document)
        return JSONResponse(shown, 201, {"Location": emulator.base_url + shown["id"]})

    def replace(current: Document) -> Document:
        return document | {"name": current["name"], "created": current["created"]}

    return JSONResponse(_shown(emulator, emulator.store.update(KIND, name.lower(), replace) or document))


def _delete(request: Request) -> Response:
    """Forgets the datastore; the data stays where it is. 204 if there is none."""
    emulator: Emulator = request.app.state.emulator
    return Response(status_code=200 if emulator.store.delete(KIND, _changeable(request).lower()) else 204)


def _changeable(request: Request) -> str:
    name = request.path_params["name"]
    if name.lower() in CONTAINER_OF_DATASTORE:
        message = f"This emulator does not change the workspace's own datastores, so not /datastores/{name} either."
        raise ServiceError(501, "NotImplemented", message)
    return name


def _list_secrets(request: Request, body: Any) -> Response:
    """The account's key; or a signature for the container, good for `expireAfterHours` (24 unless asked otherwise)."""
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["name"]
    container = CONTAINER_OF_DATASTORE.get(name.lower())
    added = _added(emulator, name) if container is None else None
    kind = _CREDENTIALS[emulator.storage_auth] if added is None else added["credentials"]
    if kind == "None":
        raise user_error(f"Datastore {name} has no credentials: it is opened by identity.", "BadArgument")
    if added is not None:
        return JSONResponse({"secretsType": kind, _SECRETS[kind]: added["secret"]})
    if kind == "AccountKey":
        return JSONResponse({"secretsType": kind, "key": emulator.account_key.text})
    hours = (body or {}).get("expireAfterHours") or _DEFAULT_HOURS
    if not isinstance(hours, int) or not 0 < hours <= _MOST_HOURS:
        raise user_error(f"expireAfterHours must be between 1 and {_MOST_HOURS}.", "BadArgument/ArgumentInvalid")
    expiry = emulator.clock.now() + timedelta(hours=hours)
    sas = emulator.account_key.sign_sas(str(container), "", _PERMISSIONS, expiry)
    return JSONResponse({"secretsType": kind, "sasToken": sas})


routes = [
    Route(WS + "/datastores", _list),
    Route(WS + "/datastores/{name}", _get),
    Route(WS + "/datastores/{name}", with_json(_put, _DATASTORE), methods=["PUT"]),
    Route(WS + "/datastores/{name}", _delete, methods=["DELETE"]),
    Route(WS + "/datastores/{name}/listsecrets", with_json(_list_secrets, _LIFE), methods=["POST"]),
]
