"""Locks that would keep things from being deleted, so that they go on billing."""

from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.preflight.asking import Unanswered, read_all
from phi_assets.azureml.preflight.findings import Findings

_LOCKS = "/providers/Microsoft.Authorization/locks"
_API_VERSION = "2016-09-01"


def look_at_locks(ws: Workspace, found: Findings) -> None:
    """Whether something that a run makes could not be deleted again, or could not be made at all.

    A lock on the workspace, its resource group or the subscription is inherited by everything below
    (https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources).
    """
    try:
        locks = {str(lock.get("id")).lower(): lock for scope in _scopes(ws) for lock in _locks_of(ws, scope)}
    except Unanswered as error:
        found.warning(
            "access",
            "locks_unknown",
            f"Resource group {ws.resource_group}",
            f"does not show its locks: {error}",
            "With a lock on it, endpoints and clusters cannot be deleted and go on billing; have `az lock list` looked "
            "at by somebody who may.",
        )
        return
    for identifier, lock in locks.items():
        scope = identifier.partition(_LOCKS.lower())[0]
        if ws.path.lower().startswith(scope) or scope.startswith(ws.path.lower()):
            _report(lock, scope, found)


def _scopes(ws: Workspace) -> tuple[str, str]:
    # Of the resource group come those of everything in it, too; those above it are the subscription's own.
    group = f"/subscriptions/{ws.subscription_id}/resourceGroups/{ws.resource_group}"
    return group, f"/subscriptions/{ws.subscription_id}"


def _locks_of(ws: Workspace, scope: str) -> list[dict[str, Any]]:
    at_scope = "$filter=atScope()" if "/resourcegroups/" not in scope.lower() else ""
    return list(read_all(ws, f"{scope}{_LOCKS}", _API_VERSION, at_scope))


def _report(lock: dict[str, Any], scope: str, found: Findings) -> None:
    name, level = lock.get("name"), str((lock.get("properties") or {}).get("level"))
    subject = f"Lock {name} ({level}) on {scope}"
    remove = "Have it removed (`az lock delete`) for as long as the recipe is at work"
    if level == "ReadOnly":
        found.error("access", "locked", subject, "lets nothing be created", f"{remove}.")
        return
    found.error(
        "access",
        "locked_against_deletion",
        subject,
        "forbids deletions: the endpoint, its deployments and the cluster would go on billing",
        f"{remove}, or accept it with `preflight.accept: [locked_against_deletion]`, and delete by hand.",
    )
