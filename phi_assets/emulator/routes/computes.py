"""Compute clusters and the region's VM sizes."""

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator import operations
from phi_assets.emulator.bodies import with_json
from phi_assets.emulator.context import Emulator
from phi_assets.emulator.errors import ServiceError, conflict, not_found, user_error
from phi_assets.emulator.resources import PROVIDER, now, properties_of
from phi_assets.emulator.routes.paths import LOC, WS
from phi_assets.emulator.vm_sizes import VM_SIZES

CREATE_SECONDS = 1.0
UPDATE_SECONDS = 0.5
DELETE_SECONDS = 0.5

# https://learn.microsoft.com/azure/machine-learning/how-to-create-attach-compute-cluster
_NAME = re.compile(r"[A-Za-z](?=.{1,31}$)(?:-?[A-Za-z0-9])+")
_PRIORITIES = {"dedicated": "Dedicated", "lowpriority": "LowPriority"}
_MOST_NODES = 1000
_NO_NODES = {
    "idleNodeCount": 0,
    "runningNodeCount": 0,
    "preparingNodeCount": 0,
    "unusableNodeCount": 0,
    "leavingNodeCount": 0,
    "preemptedNodeCount": 0,
}
_IDLE_TIME = re.compile(r"P(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?")
_DEFAULT_IDLE = "PT2M"


def recover(emulator: Emulator) -> None:
    """Ends creations, updates and deletions that an earlier process began: the cluster is there, or it is gone."""
    for compute in emulator.store.list("compute"):
        state = compute["properties"]["provisioningState"]
        if state in {"Creating", "Updating"}:
            _settle(emulator, compute["name"])
        elif state == "Deleting":
            emulator.store.delete("compute", compute["name"].lower())
        else:
            continue
        operations.settle(emulator, _path(emulator, compute["name"]))


def find_compute(emulator: Emulator, name: str) -> dict[str, Any]:
    """The cluster's document. Raises ServiceError 404 if there is none."""
    compute = emulator.store.get("compute", name.lower())
    if compute is None:
        raise not_found("Compute", name)
    return compute


def _path(emulator: Emulator, name: str) -> str:
    return f"{emulator.workspace_path}/computes/{name}"


def _document(emulator: Emulator, compute: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": _path(emulator, compute["name"]),
        "name": compute["name"],
        "type": f"{PROVIDER}/workspaces/computes",
        "location": emulator.location,
        "tags": compute["tags"],
        "identity": compute["identity"],
        "properties": compute["properties"],
    }


def _get(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    return JSONResponse(_document(emulator, find_compute(emulator, request.path_params["name"])))


def _list(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    return JSONResponse({"value": [_document(emulator, compute) for compute in emulator.store.list("compute")]})


def _put(request: Request, body: Any) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["name"]
    if not _NAME.fullmatch(name):
        raise _invalid(
            f"The compute name '{name}' is not valid: 2 to 32 letters, digits and single dashes, starting with "
            "a letter and ending with a letter or digit."
        )
    wanted = _wanted(body)
    compute = _new(emulator, name, body, wanted)
    if emulator.store.create("compute", name.lower(), compute):
        return _begin(emulator, compute, CREATE_SECONDS, status=201)
    return _change(emulator, name, wanted, body.get("tags"))


def _patch(request: Request, body: Any) -> Response:
    """Changes the scale settings, the only thing that the service lets a PATCH change."""
    emulator: Emulator = request.app.state.emulator
    compute = find_compute(emulator, request.path_params["name"])
    inner = properties_of(body).get("properties") or {}
    current = compute["properties"]["properties"]
    wanted = current | {"scaleSettings": _scale(current["scaleSettings"] | (inner.get("scaleSettings") or {}))}
    return _change(emulator, compute["name"], wanted, body.get("tags"))


def _delete(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = find_compute(emulator, request.path_params["name"])["name"]

    def deleting(compute: dict[str, Any]) -> dict[str, Any]:
        _refuse_busy(compute)
        return compute | {"properties": compute["properties"] | {"provisioningState": "Deleting"}}

    emulator.store.update("compute", name.lower(), deleting)

    def work() -> None:
        operations.pause(emulator, DELETE_SECONDS)
        emulator.store.delete("compute", name.lower())

    operation = operations.start(emulator, operations.COMPUTE, _path(emulator, name), work)
    return operations.accepted(operation, None, 202)


def _nodes(request: Request) -> Response:
    """No virtual machine stands behind a cluster here, so there are no nodes to name."""
    find_compute(request.app.state.emulator, request.path_params["name"])
    return JSONResponse({"nodes": []})


def _vm_sizes(request: Request) -> Response:
    return JSONResponse({"value": [size.document() for size in VM_SIZES.values()]})


def _wanted(body: Any) -> dict[str, Any]:
    """The cluster's inner properties as the service keeps them. Raises ServiceError 400 for what it refuses."""
    properties = properties_of(body)
    kind = properties.get("computeType")
    if kind != "AmlCompute":
        raise _invalid(f"This emulator has compute clusters (computeType AmlCompute) only, not '{kind}'.")
    inner = properties.get("properties") or {}
    size = str(inner.get("vmSize") or "")
    if size.lower() not in VM_SIZES:
        raise _invalid(
            f"The VM size '{size}' is not known or not offered in this region; list the sizes of the region."
        )
    priority = _PRIORITIES.get(str(inner.get("vmPriority") or "Dedicated").lower())
    if priority is None:
        raise _invalid(f"The VM priority '{inner['vmPriority']}' is none of Dedicated, LowPriority.")
    return {
        "vmSize": size.upper(),
        "vmPriority": priority,
        "scaleSettings": _scale(inner.get("scaleSettings") or {}),
        "osType": inner.get("osType") or "Linux",
        "subnet": inner.get("subnet"),
        "remoteLoginPortPublicAccess": inner.get("remoteLoginPortPublicAccess") or "NotSpecified",
        "enableNodePublicIp": inner.get("enableNodePublicIp", True),
    }


def _scale(settings: dict[str, Any]) -> dict[str, Any]:
    most, least = settings.get("maxNodeCount", 1), settings.get("minNodeCount") or 0
    idle = settings.get("nodeIdleTimeBeforeScaleDown") or _DEFAULT_IDLE
    if not (isinstance(most, int) and isinstance(least, int) and 0 <= least <= most <= _MOST_NODES):
        raise _invalid(f"The node counts {least} to {most} are not 0 <= minNodeCount <= maxNodeCount <= {_MOST_NODES}.")
    if not isinstance(idle, str) or not _IDLE_TIME.fullmatch(idle):
        raise _invalid(f"nodeIdleTimeBeforeScaleDown '{idle}' is not an ISO 8601 duration.")
    return {"maxNodeCount": most, "minNodeCount": least, "nodeIdleTimeBeforeScaleDown": idle}


def _new(emulator: Emulator, name: str, body: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    moment = now(emulator)
    return {
        "name": name,
        "tags": body.get("tags") or {},
        "identity": body.get("identity"),
        "properties": {
            "computeType": "AmlCompute",
            "computeLocation": emulator.location,
            "description": body["properties"].get("description"),
            "disableLocalAuth": bool(body["properties"].get("disableLocalAuth")),
            "provisioningState": "Creating",
            "provisioningErrors": None,
            "createdOn": moment,
            "modifiedOn": moment,
            "resourceId": None,
            "isAttachedCompute": False,
            "properties": wanted
            | {
                "allocationState": "Resizing",
                "allocationStateTransitionTime": moment,
                "currentNodeCount": 0,
                "targetNodeCount": wanted["scaleSettings"]["minNodeCount"],
                "nodeStateCounts": _NO_NODES,
                "errors": None,
                "virtualMachineImage": None,
                "isolatedNetwork": False,
            },
        },
    }


def _change(emulator: Emulator, name: str, wanted: dict[str, Any], tags: dict[str, str] | None) -> Response:
    def change(compute: dict[str, Any]) -> dict[str, Any]:
        inner = compute["properties"]["properties"]
        if compute["properties"]["provisioningState"] in {"Creating", "Updating"} and inner | wanted == inner:
            return compute  # the same request again, which the SDK sends when it lost the answer
        _refuse_busy(compute)
        for key in ("vmSize", "vmPriority"):
            if wanted[key] != inner[key]:
                raise _invalid(
                    f"{key} of compute '{name}' is {inner[key]} and cannot be changed to {wanted[key]}; "
                    "delete the cluster and create it again."
                )
        properties = compute["properties"] | {
            "provisioningState": "Updating",
            "modifiedOn": now(emulator),
            "properties": inner | wanted | {"allocationState": "Resizing"},
        }
        return compute | {"properties": properties, "tags": compute["tags"] if tags is None else tags}

    compute = emulator.store.update("compute", name.lower(), change)
    if compute is None:
        raise not_found("Compute", name)
    return _begin(emulator, compute, UPDATE_SECONDS, status=200)


def _begin(emulator: Emulator, compute: dict[str, Any], seconds: float, *, status: int) -> Response:
    def work() -> None:
        operations.pause(emulator, seconds)
        _settle(emulator, compute["name"])

    operation = operations.start(emulator, operations.COMPUTE, _path(emulator, compute["name"]), work)
    return operations.accepted(operation, _document(emulator, compute), status)


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
            "nodeStateCounts": _NO_NODES | {"idleNodeCount": least},
        }
        properties = compute["properties"] | {"provisioningState": "Succeeded", "properties": settled}
        return compute | {"properties": properties}

    emulator.store.update("compute", name.lower(), change)


def _refuse_busy(compute: dict[str, Any]) -> None:
    state = compute["properties"]["provisioningState"]
    if state in {"Creating", "Updating", "Deleting"}:
        raise conflict(f"Compute '{compute['name']}' is {state}; wait until that has ended.", "ComputeInTransition")


def _invalid(message: str) -> ServiceError:
    return user_error(message, "BadArgument/ArgumentInvalid")


routes = [
    Route(WS + "/computes", _list),
    Route(WS + "/computes/{name}", _get),
    Route(WS + "/computes/{name}", with_json(_put), methods=["PUT"]),
    Route(WS + "/computes/{name}", with_json(_patch), methods=["PATCH"]),
    Route(WS + "/computes/{name}", _delete, methods=["DELETE"]),
    Route(WS + "/computes/{name}/listnodes", _nodes, methods=["POST"]),
    Route(LOC + "/vmsizes", _vm_sizes),
]
