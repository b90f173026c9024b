"""Compute clusters, the region's VM sizes and its quota."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.config.limits import CLUSTER_NAME
from phi_assets.emulator.chaos.kinds import AllocationFailed, ComputeRefused, ComputeScenario
from phi_assets.emulator.routes.parts import parts_of
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import ServiceError, conflict, not_found
from phi_assets.emulator.wire.limits import require, require_resource_tags
from phi_assets.emulator.wire.paths import LOC, WS
from phi_assets.emulator.wire.shapes import FLAG, NUMBER, TEXT, TEXTS, Fields
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.compute_documents import (
    NO_NODES,
    accepted_resource,
    allocation_error,
    compute_identity,
    compute_path,
    compute_resource,
    invalid,
    new_cluster,
    quota_refusal,
    require_network,
    scale_settings,
    wanted_cluster,
)
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.identities import IDENTITY
from phi_assets.emulator.workspace.quotas import usages
from phi_assets.emulator.workspace.resources import now, properties_of
from phi_assets.emulator.workspace.vm_sizes import VM_SIZES

_CLUSTER: Fields = {
    "location": TEXT,
    "tags": TEXTS,
    "identity": IDENTITY,
    "properties": {
        "computeType": TEXT,
        "description": TEXT,
        "disableLocalAuth": FLAG,
        "properties": {
            "vmSize": TEXT,
            "vmPriority": TEXT,
            "scaleSettings": {"maxNodeCount": NUMBER, "minNodeCount": NUMBER, "nodeIdleTimeBeforeScaleDown": TEXT},
            "osType": TEXT,
            "subnet": {"id": TEXT},
            "remoteLoginPortPublicAccess": TEXT,
            "enableNodePublicIp": FLAG,
            "userAccountCredentials": {
                "adminUserName": TEXT,
                "adminUserPassword": TEXT,
                "adminUserSshPublicKey": TEXT,
            },
        },
    },
}

CREATE_SECONDS = 1.0
UPDATE_SECONDS = 0.5
DELETE_SECONDS = 0.5


def recover(emulator: Emulator) -> None:
    """Ends creations, updates and deletions that an earlier process began: the cluster is there, or it is gone."""
    for compute in emulator.store.list("compute"):
        properties = compute["properties"]
        if properties["provisioningState"] in {"Creating", "Updating"}:
            _settle(emulator, compute["name"])
        elif properties["provisioningState"] == "Deleting":
            emulator.store.delete("compute", compute["name"].lower())
        elif properties["provisioningState"] == "Failed":
            error = properties["provisioningErrors"][0]["error"]
            path = compute_path(emulator, compute["name"])
            operations.settle(emulator, path, ServiceError(400, error["code"], error["message"]))
    operations.settle_kind(emulator, operations.COMPUTE)


def find_compute(emulator: Emulator, name: str) -> dict[str, Any]:
    """The cluster's document. Raises ServiceError 404 if there is none."""
    compute = emulator.store.get("compute", name.lower())
    if compute is None:
        raise not_found("Compute", name)
    return compute


def _get(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    return JSONResponse(compute_resource(emulator, find_compute(emulator, request.path_params["name"])))


def _list(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    return JSONResponse({"value": [compute_resource(emulator, compute) for compute in emulator.store.list("compute")]})


def _put(request: Request, body: Any) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["name"]
    require(CLUSTER_NAME, "name", name)
    wanted = wanted_cluster(body)
    identity = compute_identity(emulator, body)
    require_network(emulator, wanted)
    require_resource_tags(body.get("tags"))
    if emulator.store.get("compute", name.lower()) is None:
        refused = emulator.scenarios.take(ComputeRefused, name, accepts=lambda scenario: _is_of(scenario, wanted))
        if refused is not None:
            raise quota_refusal(refused.scenario, wanted)
    compute = new_cluster(emulator, name, body, wanted) | {"identity": identity}
    if emulator.store.create("compute", name.lower(), compute):
        return _begin(emulator, compute, CREATE_SECONDS, status=201)
    return _change(emulator, name, wanted, body.get("tags"), identity)


def _patch(request: Request, body: Any) -> Response:
    """Changes scale settings, tags and identity, all that the service lets a PATCH change."""
    emulator: Emulator = request.app.state.emulator
    compute = find_compute(emulator, request.path_params["name"])
    inner = properties_of(body).get("properties") or {}
    current = compute["properties"]["properties"]
    wanted = current | {"scaleSettings": scale_settings(current["scaleSettings"] | (inner.get("scaleSettings") or {}))}
    require_resource_tags(body.get("tags"))
    identity = compute_identity(emulator, body) if body.get("identity") else compute["identity"]
    return _change(emulator, compute["name"], wanted, body.get("tags"), identity)


def _delete(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = find_compute(emulator, request.path_params["name"])["name"]
    runner = parts_of(request).runner
    is_repeated = False

    def deleting(compute: dict[str, Any]) -> dict[str, Any]:
        nonlocal is_repeated
        is_repeated = compute["properties"]["provisioningState"] == "Deleting"
        if not is_repeated:
            _refuse_busy(compute)
        return compute | {"properties": compute["properties"] | {"provisioningState": "Deleting"}}

    emulator.store.update("compute", name.lower(), deleting)

    def work() -> None:
        operations.pause(emulator, DELETE_SECONDS)
        emulator.store.delete("compute", name.lower())
        emulator.scenarios.release(name)
        runner.lose_cluster(name)

    operation = operations.repeat_or_start(
        emulator,
        operations.COMPUTE,
        compute_path(emulator, name),
        work,
        (lambda: _is_gone(emulator, name)) if is_repeated else None,
    )
    return operations.accepted(operation, None, 202)


def _is_gone(emulator: Emulator, name: str) -> bool:
    compute = emulator.store.get("compute", name.lower())
    return compute is None or compute["properties"]["provisioningState"] != "Deleting"


def _nodes(request: Request) -> Response:
    """No virtual machine stands behind a cluster here, so there are no nodes to name."""
    find_compute(request.app.state.emulator, request.path_params["name"])
    return JSONResponse({"nodes": []})


def _vm_sizes(request: Request) -> Response:
    return JSONResponse({"value": [size.document() for size in VM_SIZES.values()]})


def _usages(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    found = usages(emulator.nodes.in_use(), emulator.quotas, emulator.location_path, emulator.location)
    return JSONResponse({"value": list(found)})


def _change(
    emulator: Emulator,
    name: str,
    wanted: dict[str, Any],
    tags: dict[str, str] | None,
    identity: dict[str, Any] | None,
) -> Response:
    def change(compute: dict[str, Any]) -> dict[str, Any]:
        inner = compute["properties"]["properties"]
        is_same = inner | wanted == inner and compute["identity"] == identity
        if compute["properties"]["provisioningState"] in {"Creating", "Updating"} and is_same:
            return compute  # the same request again, which the SDK sends when it lost the answer
        _refuse_busy(compute)
        for key in ("vmSize", "vmPriority", "subnet", "enableNodePublicIp", "userAccountCredentials"):
            if wanted.get(key) != inner.get(key):
                raise invalid(
                    f"{key} of compute '{name}' is {inner.get(key)} and cannot be changed to {wanted.get(key)}; "
                    "delete the cluster and create it again."
                )
        properties = compute["properties"] | {
            "provisioningState": "Updating",
            "modifiedOn": now(emulator),
            "properties": inner | wanted | {"allocationState": "Resizing"},
        }
        kept = compute["tags"] if tags is None else tags
        return compute | {"properties": properties, "tags": kept, "identity": identity}

    compute = emulator.store.update("compute", name.lower(), change)
    if compute is None:
        raise not_found("Compute", name)
    return _begin(emulator, compute, UPDATE_SECONDS, status=200)


def _begin(emulator: Emulator, compute: dict[str, Any], seconds: float, *, status: int) -> Response:
    def work() -> None:
        operations.pause(emulator, seconds)
        if status == 201:
            _fail_allocation(emulator, compute)
        _settle(emulator, compute["name"])

    operation = operations.start(emulator, operations.COMPUTE, compute_path(emulator, compute["name"]), work)
    show = accepted_resource if status == 201 else compute_resource
    return operations.accepted(operation, show(emulator, compute), status)


def _fail_allocation(emulator: Emulator, compute: dict[str, Any]) -> None:
    """Lets a scenario take the nodes of a new cluster. Raises ServiceError if the cluster is Failed by that."""
    name, inner = compute["name"], compute["properties"]["properties"]
    failed = emulator.scenarios.take(
        AllocationFailed, name, accepts=lambda scenario: scenario.state == "Failed" and _is_of(scenario, inner)
    )
    if failed is None:
        emulator.scenarios.hold(name, inner["vmPriority"], emulator.clock)
        return
    error = allocation_error(failed.scenario, inner)

    def change(current: dict[str, Any]) -> dict[str, Any]:
        settled = current["properties"]["properties"] | {"allocationState": "Steady", "errors": [{"error": error}]}
        ended = {"provisioningState": "Failed", "provisioningErrors": [{"error": error}], "properties": settled}
        return current | {"properties": current["properties"] | ended}

    emulator.store.update("compute", name.lower(), change)
    raise ServiceError(400, error["code"], error["message"])


def _is_of(scenario: ComputeScenario, wanted: dict[str, Any]) -> bool:
    return scenario.tier in (None, wanted["vmPriority"])


def _settle(emulator: Emulator, name: str) -> None:
    def change(compute: dict[str, Any]) -> dict[str, Any] | None:
        if compute["properties"]["provisioningState"] not in {"Creating", "Updating"}:
            return None
        inner = compute["properties"]["properties"]
        least = inner["scaleSettings"]["minNodeCount"]
        settled = inner | {
            "allocationState": "Steady",
            "allocationStateTransitionTime": now(emulator),
            "currentNodeCount": least,
            "targetNodeCount": least,
            "nodeStateCounts": NO_NODES | {"idleNodeCount": least},
            "errors": None,
        }
        ended = {"provisioningState": "Succeeded", "provisioningErrors": None, "properties": settled}
        properties = compute["properties"] | ended
        return compute | {"properties": properties}

    emulator.store.update("compute", name.lower(), change)


def _refuse_busy(compute: dict[str, Any]) -> None:
    state = compute["properties"]["provisioningState"]
    if state in {"Creating", "Updating", "Deleting"}:
        raise conflict(f"Compute '{compute['name']}' is {state}; wait until that has ended.", "ComputeInTransition")


routes = [
    Route(WS + "/computes", _list),
    Route(WS + "/computes/{name}", _get),
    Route(WS + "/computes/{name}", with_json(_put, _CLUSTER), methods=["PUT"]),
    Route(WS + "/computes/{name}", with_json(_patch, _CLUSTER), methods=["PATCH"]),
    Route(WS + "/computes/{name}", _delete, methods=["DELETE"]),
    Route(WS + "/computes/{name}/listnodes", _nodes, methods=["POST"]),
    Route(LOC + "/vmsizes", _vm_sizes),
    Route(LOC + "/usages", _usages),
]
