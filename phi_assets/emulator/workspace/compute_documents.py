"""Documents of compute clusters: what the service keeps of a request, and what it answers."""

import re
from typing import Any

from phi_assets.config.limits import CLUSTER_NODES, SUBNET_ID
from phi_assets.emulator.chaos.kinds import ComputeScenario
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.wire.limits import require
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.identities import shown_identity
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
_IDLE_TIME = re.compile(r"P(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?")
_DEFAULT_IDLE = "PT2M"


def compute_path(emulator: Emulator, name: str) -> str:
    """ARM id of a cluster."""
    return f"{emulator.workspace_path}/computes/{name}"


def compute_resource(emulator: Emulator, compute: dict[str, Any]) -> dict[str, Any]:
    """The cluster as Azure Resource Manager shows it, with its nodes and the error of what keeps nodes from it."""
    properties = compute["properties"]
    inner = {"propertyBag": {}} | properties["properties"]
    running = emulator.nodes.running(compute["name"])
    if running:
        inner |= _at_work(running, inner["scaleSettings"]["minNodeCount"])
    starved = emulator.scenarios.holding(compute["name"])
    if starved is not None or emulator.nodes.is_starved(compute["name"]):
        inner |= {"errors": [{"error": allocation_error(starved.scenario if starved else None, inner)}]}
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


def allocation_error(scenario: ComputeScenario | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """Why the cluster gets no more nodes: `ClusterCoreQuotaReached`, or what the scenario says."""
    size = VM_SIZES[wanted["vmSize"].lower()]
    message = (
        f"The nodes of the cluster cannot be allocated: a {wanted['vmPriority']} node of {size.name} needs "
        f"{size.cores} vCPUs, and the quota or the capacity of the region is used up."
    )
    return {
        "code": (scenario and scenario.code) or "ClusterCoreQuotaReached",
        "message": (scenario and scenario.message) or message,
        "details": [],
    }


def _at_work(running: int, least: int) -> dict[str, Any]:
    """What the cluster says of its nodes while steps run on some of them."""
    nodes = max(running, least)
    counts = NO_NODES | {"runningNodeCount": running, "idleNodeCount": nodes - running}
    return {"currentNodeCount": nodes, "targetNodeCount": nodes, "nodeStateCounts": counts}


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
        "subnet": _subnet(inner.get("subnet")),
        "remoteLoginPortPublicAccess": inner.get("remoteLoginPortPublicAccess") or "NotSpecified",
        "enableNodePublicIp": inner.get("enableNodePublicIp") is not False,
        **_ssh(inner.get("userAccountCredentials")),
    }


def _ssh(account: dict[str, Any] | None) -> dict[str, Any]:
    """Who may log in to the nodes, and by which public key. The password is forgotten, as nobody gets it back."""
    if not account:
        return {}
    if not account.get("adminUserName"):
        raise invalid("'userAccountCredentials' has no adminUserName.")
    if not account.get("adminUserPassword") and not account.get("adminUserSshPublicKey"):
        raise invalid("'userAccountCredentials' needs a password or an SSH public key.")
    kept = {key: account.get(key) for key in ("adminUserName", "adminUserSshPublicKey")}
    return {"userAccountCredentials": kept | {"adminUserPassword": None}}


def require_network(emulator: Emulator, wanted: dict[str, Any]) -> None:
    """Raises ServiceError 400 for nodes without public addresses that have no other network.

    https://learn.microsoft.com/azure/machine-learning/how-to-secure-training-vnet#compute-instancecluster-with-no-public-ip
    """
    if not wanted["enableNodePublicIp"] and wanted["subnet"] is None and emulator.network_isolation == "Disabled":
        raise invalid(
            "'enableNodePublicIp' is not valid: nodes without public addresses need a subnet, or a workspace with a "
            "managed virtual network."
        )


def _subnet(subnet: Any) -> dict[str, str] | None:
    if not subnet:
        return None
    require(SUBNET_ID, "subnet.id", subnet.get("id") if isinstance(subnet, dict) else subnet)
    return {"id": subnet["id"]}


def scale_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Node counts and idle time, with the service's defaults. Raises ServiceError 400 for what it refuses."""
    most, least = settings.get("maxNodeCount", 1), settings.get("minNodeCount") or 0
    idle = settings.get("nodeIdleTimeBeforeScaleDown") or _DEFAULT_IDLE
    if not (isinstance(most, int) and isinstance(least, int) and 0 <= least <= most <= CLUSTER_NODES.most):
        raise invalid(
            f"The node counts {least} to {most} are not 0 <= 'minNodeCount' <= 'maxNodeCount' <= {CLUSTER_NODES.most}."
        )
    if not isinstance(idle, str) or not _IDLE_TIME.fullmatch(idle):
        raise invalid(f"nodeIdleTimeBeforeScaleDown '{idle}' is not an ISO 8601 duration.")
    return {"maxNodeCount": most, "minNodeCount": least, "nodeIdleTimeBeforeScaleDown": idle}


def new_cluster(emulator: Emulator, name: str, body: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The document of a cluster that is being created with the properties of `wanted_cluster`."""
    moment = now(emulator)
    return {
        "name": name,
        "tags": body.get("tags") or {},
        "identity": None,
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


def compute_identity(emulator: Emulator, body: dict[str, Any]) -> dict[str, Any] | None:
    """The cluster's identity by a request. Raises ServiceError 400 for one that the service refuses."""
    auth = emulator.auth
    return shown_identity(body.get("identity"), principal_id=auth.object_id, tenant_id=auth.tenant_id)


def invalid(message: str) -> ServiceError:
    """400 for settings that the service refuses."""
    return user_error(message, "BadArgument/ArgumentInvalid")
