"""The life of an online deployment in the state; `DeploymentManager` gives it a process."""

from typing import Any

from phi_assets.config.limits import DEPLOYMENT_NAME, DEPLOYMENTS_PER_ENDPOINT
from phi_assets.emulator.serving.documents import (
    BUSY,
    DEPLOYMENT,
    ENDPOINT,
    Begun,
    deployment_key,
    deployments_of,
    endpoint_key,
    is_underway,
    now,
    require_deployment,
    require_endpoint,
)
from phi_assets.emulator.serving.models import check_model_exists, scoring_script
from phi_assets.emulator.serving.rules import (
    DeploymentSettings,
    bad_argument,
    check_deployment,
    check_instance_type,
    with_defaults,
)
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import ServiceError, conflict
from phi_assets.emulator.wire.limits import require, require_resource_tags
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.locations import check_environment


def begin_put(emulator: Emulator, endpoint: str, name: str, body: dict[str, Any]) -> tuple[Document, Begun]:
    """Records what the deployment shall be; `DeploymentManager.create` or `update` makes it so.

    Raises:
        ServiceError: 400 for a body the service refuses, 404 for an unknown endpoint or model, 409 while another
            operation on the endpoint or the deployment is underway.
    """
    require_endpoint(emulator.store, endpoint)
    require(DEPLOYMENT_NAME, "name", name)
    wanted = _wanted(emulator, body)
    key = deployment_key(endpoint, name)
    outcome: list[tuple[Document, Begun]] = []

    def change(endpoint_document: Document) -> None:
        # Inside the endpoint's transaction: it cannot begin to be deleted or updated before this is recorded.
        existing = emulator.store.get(DEPLOYMENT, key)
        if existing is not None and is_underway(existing, wanted):
            outcome.append((existing, Begun.NOTHING))
            return
        verb = "create a" if existing is None else "update the"
        _refuse_busy(f"Cannot {verb} deployment in endpoint {endpoint}", endpoint_document)
        if existing is None:
            _check_limit(emulator, endpoint)
            document = {"endpoint": endpoint_document["name"], "name": name, "created": now(), "serving": None}
            document |= {"state": "Creating", "modified": now(), "error": None, **wanted}
        else:
            _refuse_busy(f"Cannot update the deployment {name}", existing)
            _refuse_other_egress(existing, wanted)
            state = "Scaling" if _only_scales(existing, wanted) else "Updating"
            document = existing | {"state": state, "modified": now(), "error": None, **wanted}
        emulator.store.put(DEPLOYMENT, key, document)
        outcome.append((document, Begun.CREATION if existing is None else Begun.UPDATE))

    emulator.store.update(ENDPOINT, endpoint_key(endpoint), change)
    if not outcome:
        raise conflict(f"The endpoint '{endpoint}' was deleted meanwhile.")
    return outcome[0]


def begin_patch(emulator: Emulator, endpoint: str, name: str, body: dict[str, Any]) -> tuple[Document, Begun]:
    """Records new tags or a new instance count (`sku.capacity`): the parts of a deployment that can be patched.

    Raises:
        ServiceError: as `begin_put`.
    """
    document = require_deployment(emulator.store, endpoint, name)
    merged = {
        "location": document["location"],
        "tags": body["tags"] if body.get("tags") is not None else document["tags"],
        "sku": document["sku"] | {key: value for key, value in (body.get("sku") or {}).items() if value is not None},
        "properties": document["properties"],
    }
    return begin_put(emulator, endpoint, name, merged)


def begin_delete(emulator: Emulator, endpoint: str, name: str) -> Begun | None:
    """Marks the deployment as being deleted; None if there is none.

    Raises:
        ServiceError: 400 while the deployment receives traffic.
    """
    key = deployment_key(endpoint, name)
    begun: Begun | None = None

    def change(endpoint_document: Document) -> None:
        # Inside the endpoint's transaction: no traffic can be given to it before this is recorded.
        nonlocal begun
        existing = emulator.store.get(DEPLOYMENT, key)
        if existing is None:
            return
        if existing["state"] == "Deleting":
            begun = Begun.NOTHING
            return
        _refuse_traffic(endpoint_document, name)
        emulator.store.put(DEPLOYMENT, key, existing | {"state": "Deleting"})
        begun = Begun.DELETION

    emulator.store.update(ENDPOINT, endpoint_key(endpoint), change)
    return begun


def is_settled(emulator: Emulator, endpoint: str, name: str) -> bool:
    """Whether no operation on the deployment is underway.

    Raises:
        ServiceError: the last one failed, or the deployment is being deleted.
    """
    document = emulator.store.get(DEPLOYMENT, deployment_key(endpoint, name))
    if document is None or document["state"] == "Deleting":
        raise ServiceError(409, "OperationCanceled", f"The deployment '{endpoint}/{name}' was deleted meanwhile.")
    if document["state"] == "Failed" and document["error"] is not None:
        raise ServiceError(400, document["error"]["code"], document["error"]["message"])
    return document["state"] not in BUSY


def is_gone(emulator: Emulator, endpoint: str, name: str) -> bool:
    """Whether the deployment that was being deleted is gone; another one may have its name by now."""
    document = emulator.store.get(DEPLOYMENT, deployment_key(endpoint, name))
    return document is None or document["state"] != "Deleting"


def fail(emulator: Emulator, endpoint: str, name: str, error: ServiceError, *, serving: bool = True) -> None:
    """Records that the deployment is Failed, unless it is being deleted; without `serving` nothing runs for it."""

    def change(current: Document) -> Document | None:
        if current["state"] == "Deleting":
            return None
        failed = current | {"state": "Failed", "error": {"code": error.code, "message": error.message}}
        return failed if serving else failed | {"serving": None}

    emulator.store.update(DEPLOYMENT, deployment_key(endpoint, name), change)


def forget(emulator: Emulator, endpoint: str, name: str) -> None:
    """Removes the deployment, and its name from the endpoint's traffic rules."""

    def change(document: Document) -> Document:
        properties = dict(document["properties"])
        for rule in ("traffic", "mirrorTraffic"):
            properties[rule] = {other: share for other, share in properties[rule].items() if other != name.lower()}
        return document | {"properties": properties}

    emulator.store.update(ENDPOINT, endpoint_key(endpoint), change)
    emulator.store.delete(DEPLOYMENT, deployment_key(endpoint, name))


def settings_of(document: Document) -> DeploymentSettings:
    """The numbers of a recorded deployment."""
    return DeploymentSettings.of(document["sku"], document["properties"])


def _wanted(emulator: Emulator, body: dict[str, Any]) -> dict[str, Any]:
    require_resource_tags(body.get("tags"))
    given_sku = {key: value for key, value in (body.get("sku") or {}).items() if value is not None}
    sku = {"name": "Default", "capacity": 1} | given_sku
    properties = with_defaults(body.get("properties") or {})
    check_deployment(properties)
    DeploymentSettings.of(sku, properties)
    check_instance_type(properties["instanceType"])
    check_model_exists(emulator, properties["model"])
    if properties.get("codeConfiguration"):
        scoring_script(emulator, properties)
        check_environment(emulator, properties["environmentId"], "The deployment")
    return {
        "location": body.get("location") or emulator.location,
        "tags": body.get("tags") or {},
        "sku": sku,
        "properties": properties,
    }


def _refuse_other_egress(existing: Document, wanted: Document) -> None:
    """https://learn.microsoft.com/azure/machine-learning/concept-secure-online-endpoint#appendix"""
    have, want = (document["properties"]["egressPublicNetworkAccess"] for document in (existing, wanted))
    if have.lower() != want.lower():
        raise bad_argument(
            f"'egressPublicNetworkAccess' of the deployment '{existing['name']}' is {have} and cannot be changed."
        )


def _only_scales(existing: Document, wanted: Document) -> bool:
    """Whether the number of instances is all that changes."""
    changes = [field for field, value in wanted.items() if existing[field] != value]
    return changes == ["sku"] and existing["sku"] | {"capacity": wanted["sku"]["capacity"]} == wanted["sku"]


def _refuse_traffic(endpoint: Document, name: str) -> None:
    """The traffic that it has now, and the one that an update of the endpoint is about to give it."""
    for document in (endpoint, endpoint.get("pending") or {}):
        percent = document.get("properties", {}).get("traffic", {}).get(name.lower())
        if percent:
            raise bad_argument(
                f"The deployment '{name}' receives {percent} % of the traffic of endpoint '{endpoint['name']}' and "
                "cannot be deleted. Set its traffic to 0 first."
            )


def _refuse_busy(what: str, document: Document) -> None:
    if document["state"] in BUSY:
        raise conflict(
            f"{what} because it is in {document['state']} provisioning state. Wait until it is Succeeded or Failed."
        )


def _check_limit(emulator: Emulator, endpoint: str) -> None:
    count = len(deployments_of(emulator.store, endpoint))
    if count >= DEPLOYMENTS_PER_ENDPOINT:
        raise ServiceError(
            400, "OutOfQuota", f"The endpoint '{endpoint}' has {count} deployments, the most that it can have."
        )
