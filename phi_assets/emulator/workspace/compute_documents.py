"""Documents of compute clusters: what the service keeps of a request, and what it answers."""

import re
from typing import Any

from phi_assets.emulator.chaos.kinds import ComputeScenario
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import PROVIDER, now, properties_of
from phi_assets.emulator.workspace.vm_sizes import VM_SIZES

NO_NODES = {
    "idleNodeCount": 0,
    "runningNodeCount": 0,
    "preparingNodeCount": 0,
    "unusableNodeCount": 0,
    "leavingNodeCount": 0,
    "preemptedNodeCount": 0,
}

_UNKNOWN_NODES = dict.fromkeys(("allocationState", "currentNodeCount", "nodeStateCounts", "targetNodeCount"))
_OF_NODES_ONLY = frozenset({"allocationStateTransitionTime", "propertyBag"})
_PRIORITIES = {"dedicated": "Dedicated", "lowpriority": "LowPriority"}
_MOST_NODES = 1000
_IDLE_TIME = re.compile(r"P(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?")
_DEFAULT_IDLE = "PT2M"


def compute_path(emulator: Emulator, name: str) -> str:
    """ARM id of a cluster."""
    return f"{emulator.workspace_path}/computes/{name}"


def compute_resource(emulator: Emulator, compute: dict[str, Any]) -> dict[str, Any]:
    """The cluster as Azure Resource Manager shows it, with the error of a scenario that keeps nodes from it."""
    properties = compute["properties"]
    inner = {"propertyBag": {}} | properties["properties"]
    starved = emulator.scenarios.holding(compute["name"])
    if starved is not None:
        inner |= {"errors": [{"error": allocation_error(starved.scenario, inner)}]}
    resource = {
        "id": compute_path(emulator, compute["name"]),
        "name": compute["name"],
        "type": f"{PROVIDER}/workspaces/computes",
        "location": emulator.location,
        "tags": compute["tags"],
        "properties": properties | {"properties": inner},
    }
    return resource | ({"identity": compute["identity"]} if compute["identity"] else {})


def accepted_resource(emulator: Emulator, compute: dict[str, Any]) -> dict[str, Any]:
    """The same as the answer to the request that creates it: nothing is known of its nodes yet."""
    resource = compute_resource(emulator, compute)
    inner = {key: value for key, value in resource["properties"]["properties"].items() if key not in _OF_NODES_ONLY}
    return resource | {"properties": resource["properties"] | {"properties": inner | _UNKNOWN_NODES}}


def quota_refusal(scenario: ComputeScenario, wanted: dict[str, Any]) -> ServiceError:
    """400 `ClusterMinNodesExceedCoreQuota`: there is no quota for even one node of the cluster."""
    size = VM_SIZES[wanted["vmSize"].lower()]
    quota = "total" if wanted["vmPriority"] == "LowPriority" else size.family
    message = (
        f"The specified subscription has a {quota} vCPU quota of 0, and one requested node of {size.name} needs "
        f"{size.cores} vCPUs. Ask for more quota: "
        "https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas"
    )
    return ServiceError(400, scenario.code or "ClusterMinNodesExceedCoreQuota", scenario.message or message)


def allocation_error(scenario: ComputeScenario, wanted: dict[str, Any]) -> dict[str, Any]:
    """Why the cluster has no nodes: `ClusterCoreQuotaReached`."""
    size = VM_SIZES[wanted["vmSize"].lower()]
    message = (
        f"The nodes of the cluster cannot be allocated: a {wanted['vmPriority']} node of {size.name} needs "
        f"{size.cores} vCPUs, and the quota or the capacity of the region is used up."
    )
    return {
        "code": scenario.code or "ClusterCoreQuotaReached",
        "message": scenario.message or message,
        "details": [],
    }


def wanted_cluster(body: Any) -> dict[str, Any]:
    """The cluster's inner properties as the service keeps them. Raises ServiceError 400 for what it refuses."""
    properties = properties_of(body)
    kind = properties.get("computeType")
    if kind != "AmlCompute":
        raise invalid(f"This emulator has compute clusters (computeType AmlCompute) only, not '{kind}'.")
    inner = properties.get("properties") or {}
    size = str(inner.get("vmSize") or "")
    if size.lower() not in VM_SIZES:
        raise invalid(f"The VM size '{size}' is not known or not offered in this region; list the sizes of the region.")
    priority = _PRIORITIES.get(str(inner.get("vmPriority") or "Dedicated").lower())
    if priority is None:
        raise invalid(f"The VM priority '{inner['vmPriority']}' is none of Dedicated, LowPriority.")
    return {
        "vmSize": size.upper(),
        "vmPriority": priority,
        "scaleSettings": scale_settings(inner.get("scaleSettings") or {}),
        "osType": inner.get("osType") or "Linux",
        "subnet": inner.get("subnet"),
        "remoteLoginPortPublicAccess": inner.get("remoteLoginPortPublicAccess") or "NotSpecified",
        "enableNodePublicIp": inner.get("enableNodePublicIp", True),
    }


def scale_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Node counts and idle time, with the service's defaults. Raises ServiceError 400 for what it refuses."""
    most, least = settings.get("maxNodeCount", 1), settings.get("minNodeCount") or 0
    idle = settings.get("nodeIdleTimeBeforeScaleDown") or _DEFAULT_IDLE
    if not (isinstance(most, int) and isinstance(least, int) and 0 <= least <= most <= _MOST_NODES):
        raise invalid(f"The node counts {least} to {most} are not 0 <= minNodeCount <= maxNodeCount <= {_MOST_NODES}.")
    if not isinstance(idle, str) or not _IDLE_TIME.fullmatch(idle):
        raise invalid(f"nodeIdleTimeBeforeScaleDown '{idle}' is not an ISO 8601 duration.")
    return {"maxNodeCount": most, "minNodeCount": least, "nodeIdleTimeBeforeScaleDown": idle}


def new_cluster(emulator: Emulator, name: str, body: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The document of a cluster that is being created with the properties of `wanted_cluster`."""
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
                "nodeStateCounts": NO_NODES,
                "errors": None,
                "virtualMachineImage": None,
                "isolatedNetwork": False,
            },
        },
    }


def invalid(message: str) -> ServiceError:
    """400 for settings that the service refuses."""
    return user_error(message, "BadArgument/ArgumentInvalid")
