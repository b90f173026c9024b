"""Online endpoints and deployments in the state, and as the resources that the service answers with."""

from datetime import UTC, datetime
from enum import Enum
from typing import Any

from phi_assets.emulator.store.state import Document, Store
from phi_assets.emulator.wire.errors import not_found
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import AUTHOR, PROVIDER

ENDPOINT = "online_endpoint"
DEPLOYMENT = "online_deployment"
KEYS = "online_endpoint_keys"

MAKING = frozenset({"Creating", "Updating", "Scaling"})
"""Provisioning states in which something is on its way to be as recorded; only deployments are ever Scaling."""

BUSY = MAKING | {"Deleting"}
"""Provisioning states in which an operation is underway."""


class Begun(Enum):
    """What a request to create, change or delete something has begun."""

    CREATION = "creation"
    UPDATE = "update"
    DELETION = "deletion"
    NOTHING = "nothing"
    """An earlier request asked for exactly this and is underway. Clients repeat a request when its answer got lost."""


def endpoint_key(endpoint: str) -> str:
    """Key of an endpoint, and of its keys, in the state."""
    return endpoint.lower()


def deployment_key(endpoint: str, deployment: str) -> str:
    """Key of a deployment in the state; the endpoint's name is in front, so that one prefix finds all of them."""
    return f"{endpoint}/{deployment}".lower()


def require_endpoint(store: Store, endpoint: str) -> Document:
    """Raises ServiceError: 404 if there is no such endpoint."""
    document = store.get(ENDPOINT, endpoint_key(endpoint))
    if document is None:
        raise not_found("Online endpoint", endpoint, detail="NoSuchEndpoint")
    return document


def require_deployment(store: Store, endpoint: str, deployment: str) -> Document:
    """Raises ServiceError: 404 if there is no such endpoint or deployment."""
    require_endpoint(store, endpoint)
    document = store.get(DEPLOYMENT, deployment_key(endpoint, deployment))
    if document is None:
        raise not_found("Online deployment", f"{endpoint}/{deployment}", detail="NoSuchDeployment")
    return document


def deployments_of(store: Store, endpoint: str) -> list[Document]:
    """The endpoint's deployments, oldest first."""
    return store.list(DEPLOYMENT, endpoint_key(endpoint) + "/")


def deployment_states(store: Store, endpoint: str) -> dict[str, str]:
    """Provisioning states of the endpoint's deployments by lower-case name."""
    return {document["name"].lower(): document["state"] for document in deployments_of(store, endpoint)}


def is_underway(document: Document, wanted: Document) -> bool:
    """Whether the endpoint or deployment is being created or updated to be exactly as `wanted`."""
    coming = document | (document.get("pending") or {})
    return document["state"] in MAKING and all(coming[field] == value for field, value in wanted.items())


def now() -> str:
    """The time stamp of a change."""
    return datetime.now(UTC).isoformat()


def scoring_uri(emulator: Emulator, endpoint: str) -> str:
    """Where the endpoint answers scoring requests."""
    return f"{emulator.base_url}/endpoints/{endpoint}/score"


def endpoint_path(emulator: Emulator, endpoint: str) -> str:
    """ARM id of an endpoint."""
    return f"{emulator.workspace_path}/onlineEndpoints/{endpoint}"


def deployment_path(emulator: Emulator, endpoint: str, deployment: str) -> str:
    """ARM id of a deployment."""
    return f"{endpoint_path(emulator, endpoint)}/deployments/{deployment}"


def endpoint_resource(emulator: Emulator, document: Document) -> dict[str, Any]:
    """The endpoint as Azure Resource Manager shows it."""
    path = endpoint_path(emulator, document["name"])
    return {
        "id": path,
        "name": document["name"],
        "type": f"{PROVIDER}/workspaces/onlineEndpoints",
        "location": document["location"],
        "tags": document["tags"],
        "kind": "Managed",
        "identity": document["identity"],
        "systemData": _system_data(document),
        "properties": document["properties"]
        | {
            "properties": document["properties"]["properties"] | {"azureml.onlineendpointid": path.lower()},
            "provisioningState": document["state"],
            "scoringUri": scoring_uri(emulator, document["name"]),
            "swaggerUri": f"{emulator.base_url}/endpoints/{document['name']}/swagger.json",
        },
    }


def deployment_resource(emulator: Emulator, document: Document) -> dict[str, Any]:
    """The deployment as Azure Resource Manager shows it."""
    return {
        "id": deployment_path(emulator, document["endpoint"], document["name"]),
        "name": document["name"],
        "type": f"{PROVIDER}/workspaces/onlineEndpoints/deployments",
        "location": document["location"],
        "tags": document["tags"],
        "kind": "Managed",
        "sku": document["sku"],
        "systemData": _system_data(document),
        "properties": document["properties"] | {"provisioningState": document["state"]},
    }


def _system_data(document: Document) -> dict[str, Any]:
    return {
        "createdAt": document["created"],
        "createdBy": AUTHOR,
        "lastModifiedAt": document["modified"],
    }
