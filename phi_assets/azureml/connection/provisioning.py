"""Resources on their way: clusters, endpoints and deployments that somebody is creating, changing or deleting."""

from collections.abc import Callable
from typing import Any

from phi_assets.azureml.connection.errors import AzureMLError
from phi_assets.azureml.connection.retry import Log, wait_until
from phi_assets.azureml.connection.status import service_text

MANAGED_TAG = "phi-managed"
"""On everything that this project makes and may therefore delete.

Names of tags on ARM resources may not have a slash
(https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations).
"""

_SETTLED = frozenset({"succeeded", "failed", "canceled"})


def state_of(resource: Any) -> str:
    """Provisioning state of a resource as the service spells it, or "unknown"."""
    value = resource.provisioning_state
    return "unknown" if value is None else service_text(value)


def is_settled(resource: Any) -> bool:
    """Whether the resource stays in its state until somebody acts."""
    return state_of(resource).lower() in _SETTLED


def has_succeeded(resource: Any) -> bool:
    """Whether the resource can be used."""
    return state_of(resource).lower() == "succeeded"


def settled(
    get: Callable[[], Any], what: str, failure: type[AzureMLError], timeout_seconds: float, log: Log
) -> Any | None:
    """The resource once nobody is changing it any more; None if there is none, also once a deletion is through.

    Raises:
        AzureMLError: of class `failure`, when it is still on its way after `timeout_seconds`.
    """
    seen = [get()]
    if seen[0] is None or is_settled(seen[0]):
        return seen[0]
    log(f"{what} is {state_of(seen[0])}; waiting.")

    def done() -> bool:
        seen[0] = get()
        return seen[0] is None or is_settled(seen[0])

    wait_until(
        done,
        timeout_seconds,
        lambda: failure(
            f"{what} is still {state_of(seen[0])} after {timeout_seconds / 60:.0f} minutes. Look at it in Studio, or "
            "delete it and run again."
        ),
    )
    return seen[0]


def wait_until_gone(
    get: Callable[[], Any], what: str, failure: type[AzureMLError], timeout_seconds: float, log: Log
) -> None:
    """There is no such resource any more; its deletion is through.

    Raises:
        AzureMLError: of class `failure`, when it is still there after `timeout_seconds`.
    """
    wait_until(
        lambda: get() is None,
        timeout_seconds,
        lambda: failure(f"{what} still exists although it was deleted. Delete it in Studio."),
    )
    log(f"{what} is gone.")
