"""How a cluster is: whether it has nodes or gets any, and what the service says of why not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.arm import arm_get, arm_list
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, one_line, patience

_COUNTS = ("idle", "running", "preparing", "unusable", "leaving", "preempted")


@dataclass(frozen=True)
class ClusterCondition:
    """A cluster at a moment."""

    name: str
    allocation: str
    """`Steady`, or `Resizing` while nodes come or go; empty where nothing is known of it."""
    current: int = 0
    target: int = 0
    most: int = 0
    nodes: Mapping[str, int] | None = None
    """How many there are in each of the service's states, those without any left out."""
    errors: tuple[str, ...] = ()
    """Why it has not got the nodes that it wants, `code: message` each."""
    unknown: str = ""
    """Why nothing is known of it."""

    @property
    def in_words(self) -> str:
        """One sentence without a full stop."""
        if self.unknown:
            return f"Cluster {self.name}: {self.unknown}"
        states = "".join(f", {count} {state}" for state, count in (self.nodes or {}).items())
        why = f"; {'; '.join(self.errors)}" if self.errors else ""
        return (
            f"Cluster {self.name} is {self.allocation}: {self.current} of at most {self.most} nodes, {self.target} "
            f"wanted{states}{why}"
        )


def cluster_condition(ws: Workspace, name: str, log: Log) -> ClusterCondition:
    """The cluster as the service has it now; one read, and no error: what is not known is said to be unknown."""
    try:
        # Asked once: nothing hangs on it but what people are told.
        with patience(0):
            document = arm_get(ws, f"computes/{name}", log)
    except (AzureError, httpx.HTTPError, ValueError) as error:
        return ClusterCondition(name, "", unknown=f"its state is unknown ({one_line(error)})")
    return _condition(name, document)


def cluster_conditions(ws: Workspace, names: Collection[str], log: Log) -> dict[str, ClusterCondition]:
    """The same of many clusters, by one listing."""
    try:
        with patience(0):
            documents = {str(document["name"]).lower(): document for document in arm_list(ws, "computes", log)}
    except (AzureError, httpx.HTTPError, ValueError, LookupError) as error:
        unknown = f"its state is unknown ({one_line(error)})"
        return {name: ClusterCondition(name, "", unknown=unknown) for name in names}
    return {name: _condition(name, documents.get(name.lower())) for name in names}


def _condition(name: str, document: Mapping[str, Any] | None) -> ClusterCondition:
    if document is None:
        return ClusterCondition(name, "", unknown="there is none of this name any more")
    inner = (document.get("properties") or {}).get("properties") or {}
    counts = {state: int((inner.get("nodeStateCounts") or {}).get(f"{state}NodeCount") or 0) for state in _COUNTS}
    return ClusterCondition(
        name=name,
        allocation=str(inner.get("allocationState") or "unknown"),
        current=int(inner.get("currentNodeCount") or 0),
        target=int(inner.get("targetNodeCount") or 0),
        most=int((inner.get("scaleSettings") or {}).get("maxNodeCount") or 0),
        nodes={state: count for state, count in counts.items() if count},
        errors=tuple(_error(each) for each in inner.get("errors") or []),
    )


def _error(entry: Any) -> str:
    found = entry.get("error", entry) if isinstance(entry, Mapping) else {}
    return f"{found.get('code')}: {str(found.get('message') or '').rstrip('.')}" if found else str(entry)
