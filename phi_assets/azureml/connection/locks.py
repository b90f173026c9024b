"""Locks: what keeps things from being deleted or changed, by name.

A lock is inherited by everything below its scope
(https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.arm import arm_pages
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.refusals import is_locked, next_step
from phi_assets.azureml.connection.retry import patience, silent

_LOCKS = "/providers/Microsoft.Authorization/locks"
_API_VERSION = "2016-09-01"
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Lock:
    """A lock on the workspace, on something above it, or on something in it."""

    name: str
    level: str
    """`CanNotDelete` or `ReadOnly`."""
    scope: str

    @property
    def in_words(self) -> str:
        """What it is and where it lies."""
        return f"Lock {self.name} ({self.level}) on {self.scope}"


def locks_of(ws: Workspace, read: Callable[[str], Iterable[Mapping[str, Any]]]) -> list[Lock]:
    """The locks that the workspace or something in it is under; `read` gets the address of a collection."""
    subscription = f"/subscriptions/{ws.subscription_id}"
    # Of the resource group come those of everything in it, too; those above it are the subscription's own.
    addresses = (
        f"{ws.resource_manager}{subscription}/resourceGroups/{ws.resource_group}{_LOCKS}?api-version={_API_VERSION}",
        f"{ws.resource_manager}{subscription}{_LOCKS}?api-version={_API_VERSION}&$filter=atScope()",
    )
    found = [_lock(document) for address in addresses for document in read(address)]
    path = f"{ws.path.lower()}/"
    return [lock for lock in dict.fromkeys(found) if _is_on(path, f"{lock.scope.lower()}/")]


def deletion_advice(ws: Workspace, error: BaseException, otherwise: str) -> str:
    """What to do about a deletion that was refused; a lock is looked up, as the refusal does not name it."""
    if not is_locked(error):
        return next_step(error, otherwise)
    try:
        with patience(_PATIENCE_SECONDS):
            locks = locks_of(ws, lambda address: arm_pages(ws, address, "locks", silent))
    except (AzureError, httpx.HTTPError, ValueError):
        locks = []
    if not locks:
        return next_step(error, otherwise)
    names = " and ".join(lock.in_words for lock in locks)
    return f"{names} forbids it: have it removed (`az lock delete`), and run again."


def _lock(document: Mapping[str, Any]) -> Lock:
    scope = str(document.get("id")).partition(_LOCKS)[0]
    return Lock(str(document.get("name")), str((document.get("properties") or {}).get("level")), scope)


def _is_on(path: str, scope: str) -> bool:
    return path.startswith(scope) or scope.startswith(path)
