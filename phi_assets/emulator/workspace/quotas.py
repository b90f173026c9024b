"""The subscription's quota in the region: cores that its VM families may have, and that are in use.

It decides how many nodes the steps of jobs get. That a cluster or a deployment is refused for want of it is a scenario.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from phi_assets.emulator.store.state import Store
from phi_assets.emulator.workspace.vm_sizes import VM_SIZES

DEDICATED = "Total Cluster Dedicated Regional vCPUs"
LOW_PRIORITY = "Total Cluster LowPriority Regional vCPUs"
CLUSTERS = "Total Clusters"

_LIMITS = {DEDICATED: 20_000, LOW_PRIORITY: 3_000, CLUSTERS: 200}
_FAMILY_LIMIT = 1_000


class Quotas:
    """Limits that somebody has set in place of the generous ones; gone with the process, safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: dict[str, int] = {}

    def set(self, limits: Mapping[str, int]) -> None:
        """From now on these limits are in force, by a VM family's name or one of the totals, and no others."""
        with self._lock:
            self._set = {name.lower(): limit for name, limit in limits.items()}

    def limit(self, name: str) -> int:
        """How many of it there may be."""
        with self._lock:
            return self._set.get(name.lower(), _LIMITS.get(name, _FAMILY_LIMIT))


def usages(used: Mapping[str, int], quotas: Quotas, location_path: str, location: str) -> Iterator[dict[str, Any]]:
    """Every quota as the service lists it; `used` is from `cores_in_use`."""
    families = sorted({size.family for size in VM_SIZES.values()})
    shown = {family: _shown(family) for family in families} | {name: name for name in _LIMITS}
    for name, localized in shown.items():
        yield {
            "id": f"{location_path}/usages/{name}",
            "amlWorkspaceLocation": location,
            "type": "Microsoft.MachineLearningServices/usages",
            "unit": "Count",
            "currentValue": used[name],
            "limit": quotas.limit(name),
            "name": {"value": name, "localizedValue": localized},
        }


def quota_names(cluster: Mapping[str, Any]) -> list[str]:
    """The quotas that nodes of a cluster with these inner properties count against."""
    if cluster["vmPriority"] == "LowPriority":
        return [LOW_PRIORITY]
    return [VM_SIZES[cluster["vmSize"].lower()].family, DEDICATED]


def cores_in_use(store: Store, running: Mapping[str, int]) -> Counter[str]:
    """Cores by the names of their quotas, and clusters.

    Nodes count while a cluster has them: at least its `minNodeCount`, and those that steps run on (`running`, by the
    cluster's name in lower case). Machines of a deployment count as long as it exists.
    """
    used: Counter[str] = Counter()
    for compute in store.list("compute"):
        inner = compute["properties"]["properties"]
        nodes = max(inner["currentNodeCount"], running.get(compute["name"].lower(), 0))
        used[CLUSTERS] += 1
        for name in quota_names(inner):
            used[name] += VM_SIZES[inner["vmSize"].lower()].cores * nodes
    for deployment in store.list("online_deployment"):
        size = VM_SIZES.get(str(deployment["properties"].get("instanceType")).lower())
        if size is not None:
            cores = size.cores * int(deployment["sku"]["capacity"])
            used[size.family] += cores
            used[DEDICATED] += cores
    return used


def _shown(family: str) -> str:
    """`standardNCADSA100v4Family` as the portal writes it."""
    name = family.removeprefix("standard").removesuffix("Family")
    return f"Standard {name} Family Cluster Dedicated vCPUs"
