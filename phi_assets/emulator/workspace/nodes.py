"""The nodes of clusters that steps of jobs run on. They are kept in memory: they end with the processes on them."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from phi_assets.emulator.store.state import Store
from phi_assets.emulator.workspace.quotas import Quotas, cores_in_use, quota_names
from phi_assets.emulator.workspace.vm_sizes import VM_SIZES


class Nodes:
    """Gives nodes to steps, as many as a cluster's `maxNodeCount` and the quota allow; safe for threads."""

    def __init__(self, store: Store, quotas: Quotas):
        self._store = store
        self._quotas = quotas
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self._starved: set[str] = set()

    def take(self, compute: Mapping[str, Any], count: int) -> bool:
        """Whether the step has `count` more nodes of this cluster now; False, and nothing changed, if it has to wait.

        Nodes that the cluster has anyway (`minNodeCount`) take nothing more of the quota.
        """
        name = compute["name"].lower()
        inner = compute["properties"]["properties"]
        scale = inner["scaleSettings"]
        with self._lock:
            wanted = self._running[name] + count
            if wanted > scale["maxNodeCount"]:
                return False
            more = max(wanted, scale["minNodeCount"]) - max(self._running[name], scale["minNodeCount"])
            if more and not self._has_quota(inner, more):
                self._starved.add(name)
                return False
            self._starved.discard(name)
            self._running[name] = wanted
            return True

    def free(self, name: str, count: int) -> None:
        """The step that had them has ended."""
        with self._lock:
            self._running[name.lower()] -= count

    def running(self, name: str) -> int:
        """How many nodes of the cluster a step runs on."""
        with self._lock:
            return self._running[name.lower()]

    def is_starved(self, name: str) -> bool:
        """Whether a step of the cluster waits for want of quota."""
        with self._lock:
            return name.lower() in self._starved

    def forget(self, name: str) -> None:
        """Nobody waits for nodes of this cluster any more."""
        with self._lock:
            self._starved.discard(name.lower())

    def in_use(self) -> Counter[str]:
        """Cores in use by the names of their quotas."""
        with self._lock:
            return self._in_use()

    def _in_use(self) -> Counter[str]:
        return cores_in_use(self._store, self._running)

    def _has_quota(self, inner: Mapping[str, Any], more: int) -> bool:
        used = self._in_use()
        cores = more * VM_SIZES[inner["vmSize"].lower()].cores
        limits = {name: self._quotas.limit(name) for name in quota_names(inner)}
        return all(limit < 0 or used[name] + cores <= limit for name, limit in limits.items())
