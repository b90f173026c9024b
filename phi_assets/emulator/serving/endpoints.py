"""The life of an online endpoint: created, updated and deleted as long-running operations."""

from collections.abc import Callable
from typing import Any

from phi_assets.config.limits import ENDPOINT_NAME, ENDPOINTS_PER_SUBSCRIPTION
from phi_assets.emulator.serving import credentials
from phi_assets.emulator.serving.documents import (
    BUSY,
    DEPLOYMENT,
    ENDPOINT,
    Begun,
    deployment_key,
    deployment_states,
    deployments_of,
    endpoint_key,
    is_underway,
    now,
    require_endpoint,
)
from phi_assets.emulator.serving.rules import bad_argument, checked_traffic
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import ServiceError, conflict
from phi_assets.emulator.wire.limits import require, require_resource_tags
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.identities import shown_identity

OPERATION_SECONDS = 0.5


def begin_put(emulator: Emulator, name: str, body: dict[str, Any]) -> tuple[Document, Begun]:
    """Records what the endpoint shall be; `finish_put` makes it so.

    Raises:
        ServiceError: 400 for a body the service refuses, 409 while another operation on the endpoint is underway.
    """
    require(ENDPOINT_NAME, "name", name)
    wanted = _wanted(emulator, name, body)
    if emulator.store.get(ENDPOINT, endpoint_key(name)) is None:
        count = len(emulator.store.list(ENDPOINT))
        if count >= ENDPOINTS_PER_SUBSCRIPTION:
            raise ServiceError(400, "OutOfQuota", f"The subscription has {count} online endpoints, which is the limit.")
        credentials.ensure_keys(emulator, name)
        created = {"name": name, "state": "Creating", "pending": None, "created": now(), "modified": now(), **wanted}
        if emulator.store.create(ENDPOINT, endpoint_key(name), created):
            return created, Begun.CREATION
    # Looked at again inside the transaction: a deployment of the traffic rules may be about to be deleted by now.
    return _begin_update(emulator, name, lambda _: _wanted(emulator, name, body))


def begin_patch(emulator: Emulator, name: str, body: dict[str, Any]) -> tuple[Document, Begun]:
    """Records new tags, the part of an endpoint that can be patched.

    Raises:
        ServiceError: 400 for tags the service refuses or another identity, 404, or 409 while another operation on the
            endpoint is underway.
    """
    existing = require_endpoint(emulator.store, name)
    require_resource_tags(body.get("tags"))
    if body.get("identity") is not None:
        _identity(emulator, body, existing)
    patch = {"tags": body["tags"]} if body.get("tags") is not None else {}

    def patched(document: Document) -> Document:
        current = document | (document["pending"] or {})
        return {field: current[field] for field in ("location", "tags", "identity", "properties")} | patch

    return _begin_update(emulator, name, patched)


def _begin_update(emulator: Emulator, name: str, wanted: Callable[[Document], Document]) -> tuple[Document, Begun]:
    begun = Begun.UPDATE

    def change(document: Document) -> Document:
        nonlocal begun
        coming = wanted(document)
        if is_underway(document, coming):
            begun = Begun.NOTHING
            return document
        _refuse_busy(document)
        return document | {"state": "Updating", "pending": coming, "modified": now()}

    document = emulator.store.update(ENDPOINT, endpoint_key(name), change)
    if document is None:
        raise conflict(f"The endpoint '{name}' was deleted meanwhile.")
    return document, begun


def finish_put(emulator: Emulator, name: str) -> None:
    """The endpoint is as recorded and in state Succeeded.

    Raises:
        ServiceError: its deletion was asked for meanwhile.
        Interrupted: the emulator is stopping; its next start goes on with this.
    """
    operations.pause(emulator, OPERATION_SECONDS)

    def change(document: Document) -> Document | None:
        if document["state"] not in ("Creating", "Updating"):
            return None
        return document | (document["pending"] or {}) | {"state": "Succeeded", "pending": None, "modified": now()}

    emulator.store.update(ENDPOINT, endpoint_key(name), change)
    is_settled(emulator, name)


def is_settled(emulator: Emulator, name: str) -> bool:
    """Whether no operation on the endpoint is underway. Raises ServiceError if it is being deleted."""
    document = emulator.store.get(ENDPOINT, endpoint_key(name))
    if document is None or document["state"] == "Deleting":
        raise ServiceError(409, "OperationCanceled", f"The endpoint '{name}' was deleted before the operation ended.")
    return document["state"] not in BUSY


def begin_delete(emulator: Emulator, name: str) -> Begun | None:
    """Marks the endpoint and its deployments as being deleted; None if there is no such endpoint."""
    begun = Begun.DELETION

    def change(document: Document) -> Document:
        nonlocal begun
        if document["state"] == "Deleting":
            begun = Begun.NOTHING
            return document
        for deployment in deployments_of(emulator.store, name):
            key = deployment_key(name, deployment["name"])
            emulator.store.put(DEPLOYMENT, key, deployment | {"state": "Deleting"})
        return document | {"state": "Deleting"}

    return begun if emulator.store.update(ENDPOINT, endpoint_key(name), change) is not None else None


def is_gone(emulator: Emulator, name: str) -> bool:
    """Whether the endpoint that was being deleted is gone; another one may have its name by now."""
    document = emulator.store.get(ENDPOINT, endpoint_key(name))
    return document is None or document["state"] != "Deleting"


def finish_delete(emulator: Emulator, name: str, delete_deployment: Callable[[str, str], None]) -> None:
    """The endpoint, its deployments, their processes and its keys are gone."""
    for deployment in deployments_of(emulator.store, name):
        delete_deployment(name, deployment["name"])
    emulator.clock.wait(OPERATION_SECONDS, emulator.stopping)
    credentials.delete_keys(emulator, name)
    emulator.store.delete(ENDPOINT, endpoint_key(name))


def _refuse_busy(document: Document) -> None:
    if document["state"] in BUSY:
        raise conflict(
            f"Cannot update the endpoint {document['name']} because it is in {document['state']} provisioning state. "
            "Wait until it is Succeeded or Failed."
        )


def _wanted(emulator: Emulator, name: str, body: dict[str, Any]) -> dict[str, Any]:
    require_resource_tags(body.get("tags"))
    properties = body.get("properties") or {}
    existing = emulator.store.get(ENDPOINT, endpoint_key(name))
    traffic, mirror = checked_traffic(
        properties.get("traffic"),
        properties.get("mirrorTraffic"),
        deployment_states(emulator.store, name),
        existing["properties"]["traffic"] if existing else None,
    )
    return {
        "location": body.get("location") or emulator.location,
        "tags": body.get("tags") or {},
        "identity": _identity(emulator, body, existing),
        "properties": {
            "authMode": _auth_mode(properties.get("authMode")),
            "description": properties.get("description"),
            "properties": properties.get("properties") or {},
            "publicNetworkAccess": _access(properties.get("publicNetworkAccess")),
            "traffic": traffic,
            "mirrorTraffic": mirror,
        },
    }


def _identity(emulator: Emulator, body: dict[str, Any], existing: Document | None) -> dict[str, Any] | None:
    """https://learn.microsoft.com/azure/machine-learning/concept-endpoints-online-auth"""
    identity = shown_identity(
        body.get("identity") or {"type": "SystemAssigned"},
        principal_id=emulator.auth.object_id,
        tenant_id=emulator.auth.tenant_id,
    )
    if existing is not None and _identities(existing["identity"]) != _identities(identity):
        raise bad_argument("'identity' of an endpoint is chosen when it is created and cannot be changed.")
    return identity


def _identities(identity: dict[str, Any] | None) -> tuple[str, list[str]]:
    shown = identity or {}
    return str(shown.get("type")), sorted(name.lower() for name in shown.get("userAssignedIdentities") or {})


def _access(value: Any) -> str:
    modes = {mode.lower(): mode for mode in ("Enabled", "Disabled")}
    mode = modes.get(str(value or "Enabled").lower())
    if mode is None:
        raise bad_argument(f"'publicNetworkAccess' must be one of {', '.join(modes.values())}, not {value!r}.")
    return mode


def _auth_mode(value: Any) -> str:
    modes = {mode.lower(): mode for mode in credentials.AUTH_MODES}
    mode = modes.get(str(value or "Key").lower())
    if mode is None:
        raise bad_argument(f"The auth mode must be one of {', '.join(credentials.AUTH_MODES)}, not {value!r}.")
    return mode
