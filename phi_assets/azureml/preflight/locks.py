"""Locks that would keep things from being deleted, so that they go on billing."""

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.locks import locks_of
from phi_assets.azureml.preflight.asking import Unanswered, read_pages
from phi_assets.azureml.preflight.findings import Findings

_REMOVE = "Have it removed (`az lock delete`) for as long as the recipe is at work"


def look_at_locks(ws: Workspace, found: Findings) -> None:
    """Whether something that a run makes could not be deleted again, or could not be made at all."""
    try:
        locks = locks_of(ws, lambda address: read_pages(ws, address))
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
    for lock in locks:
        if lock.level == "ReadOnly":
            found.error("access", "locked", lock.in_words, "lets nothing be created", f"{_REMOVE}.")
        else:
            found.error(
                "access",
                "locked_against_deletion",
                lock.in_words,
                "forbids deletions: the endpoint, its deployments and the cluster would go on billing",
                f"{_REMOVE}, or accept it with `preflight.accept: [locked_against_deletion]` and delete by hand.",
            )
