"""The managed online endpoint: created with a lease, kept, and deleted for good."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import EndpointFailed
from phi_assets.azureml.connection.inventory import find_endpoint
from phi_assets.azureml.connection.provisioning import MANAGED_TAG, has_succeeded, settled, state_of, wait_until_gone
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.connection.status import service_text
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.serving.leases import EXPIRES_TAG, lease_end
from phi_assets.config.recipe import ServingSection
from phi_assets.refs import Action, EndpointRef

_SETTLE_TIMEOUT_SECONDS = 30 * 60.0
_NAME_RELEASE_SECONDS = 180.0
"""A name is released a little after its endpoint is gone; until then the service answers 409."""

# Letters, digits and single dashes, 3 to 32 characters:
# https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas#azure-machine-learning-online-endpoints-and-batch-endpoints
_NAME = re.compile(r"^[a-zA-Z](-?[a-zA-Z0-9])*$")


def ensure_endpoint(
    ws: Workspace, section: ServingSection, tags: Mapping[str, str] | None = None, log: Log = silent
) -> EndpointRef:
    """The endpoint exists in state Succeeded with the recipe's authentication, the given tags and a lease.

    The lease is the tag `expires_at`, after which the endpoint counts as forgotten. It is renewed when less than half
    of it is left, so that repeated runs write nothing. Traffic is left as it is.

    Raises:
        EndpointFailed: the service refused it, or it did not settle.
    """
    _check_name(section.endpoint)
    existing = _settled(ws, section.endpoint, log)
    now = datetime.now(UTC)
    lease = _lease(existing)
    renewed = not _is_fresh(lease, now, section)
    if renewed:
        lease = (now + timedelta(hours=section.lease_hours)).isoformat(timespec="seconds")
    wanted = {**section.tags, **(tags or {}), MANAGED_TAG: "true", EXPIRES_TAG: str(lease)}
    if existing is not None:
        _check_existing(existing, section)
        if _is_as_wanted(existing, wanted):
            log(f"Endpoint {section.endpoint} is ready; its lease ends at {lease}.")
            return _ref(existing, "reused", f"Endpoint {section.endpoint} is ready and its lease is fresh.")
    reason = _reason(section.endpoint, existing, wanted, renewed)
    log(f"{'Creating' if existing is None else 'Updating'} endpoint {section.endpoint}; its lease ends at {lease}.")
    return _put(ws, section, wanted, "created" if existing is None else "updated", reason, log)


def delete_endpoint(ws: Workspace, name: str, log: Log = silent) -> bool:
    """The endpoint and its deployments are gone, so nothing of them is billing. Whether there was one to delete.

    Raises:
        EndpointFailed: the service refused, or the endpoint is still there after half an hour.
    """
    if find_endpoint(ws, name, log) is None:
        log(f"Endpoint {name} does not exist; nothing to delete.")
        return False
    log(f"Deleting endpoint {name} and its deployments.")
    try:
        write(
            f"Deletion of endpoint {name}",
            look=lambda: _settled(ws, name, log),
            send=lambda _: ws.ml.online_endpoints.begin_delete(name=name).wait(),
            is_done=lambda endpoint: endpoint is None,
            log=log,
        )
    except AzureError as error:
        raise EndpointFailed(
            f"Endpoint {name} could not be deleted and is still billing: {one_line(error)}. Delete it in Studio."
        ) from error
    wait_until_gone(
        lambda: find_endpoint(ws, name, log), f"Endpoint {name}", EndpointFailed, _SETTLE_TIMEOUT_SECONDS, log
    )
    return True


def is_legal_name(name: str) -> bool:
    """Whether the service takes it as an endpoint's name; whether it is free is another question."""
    return 3 <= len(name) <= 32 and _NAME.match(name) is not None


def _check_name(name: str) -> None:
    if not is_legal_name(name):
        raise EndpointFailed(
            f"{name!r} cannot be an endpoint's name: 3 to 32 letters, digits and single dashes, starting with a "
            "letter. Change `serving.endpoint`."
        )


def _check_existing(endpoint: Any, section: ServingSection) -> None:
    mode = service_text(endpoint.auth_mode).lower()
    if mode != section.auth_mode:
        raise EndpointFailed(
            f"Endpoint {section.endpoint} exists with authentication {mode!r}, not {section.auth_mode!r}, which cannot "
            "be changed. Delete it, set `serving.auth_mode`, or give `serving.endpoint` another name."
        )


def _is_fresh(lease: str | None, now: datetime, section: ServingSection) -> bool:
    ends = lease_end({EXPIRES_TAG: lease} if lease else None)
    return ends is not None and ends - now > timedelta(hours=section.lease_hours) / 2


def _settled(ws: Workspace, name: str, log: Log) -> Any | None:
    return settled(
        lambda: find_endpoint(ws, name, log), f"Endpoint {name}", EndpointFailed, _SETTLE_TIMEOUT_SECONDS, log
    )


def _lease(endpoint: Any) -> str | None:
    return None if endpoint is None else (endpoint.tags or {}).get(EXPIRES_TAG)


def _is_as_wanted(endpoint: Any, tags: Mapping[str, str]) -> bool:
    return endpoint is not None and has_succeeded(endpoint) and tags.items() <= (endpoint.tags or {}).items()


def _reason(name: str, endpoint: Any, tags: Mapping[str, str], renewed: bool) -> str:
    if endpoint is None:
        return f"Endpoint {name} did not exist."
    if not has_succeeded(endpoint):
        return f"Endpoint {name} was {state_of(endpoint)}."
    if renewed:
        return f"Less than half of the lease of endpoint {name} was left."
    have = endpoint.tags or {}
    return f"Endpoint {name} lacked tags: {', '.join(key for key, value in tags.items() if have.get(key) != value)}."


def _put(
    ws: Workspace, section: ServingSection, tags: Mapping[str, str], action: Action, reason: str, log: Log
) -> EndpointRef:
    name = section.endpoint

    def send(existing: Any) -> None:
        endpoint = existing or sdk().entities.ManagedOnlineEndpoint(
            name=name, description="Fine-tuned chat completion", auth_mode=section.auth_mode
        )
        endpoint.tags = {**(endpoint.tags or {}), **tags}
        ws.ml.online_endpoints.begin_create_or_update(endpoint).wait()

    try:
        written = write(
            f"Endpoint {name}",
            look=lambda: _settled(ws, name, log),
            send=send,
            is_done=lambda endpoint: _is_as_wanted(endpoint, tags),
            log=log,
            conflict_patience_seconds=_NAME_RELEASE_SECONDS,
        ).found
    except AzureError as error:
        raise EndpointFailed(
            f"Endpoint {name} could not be {action}: {one_line(error)}. Endpoint names are unique per region; "
            "`serving.endpoint` sets another."
        ) from error
    if written is None or not has_succeeded(written):
        state = "gone" if written is None else f"in state {state_of(written)}"
        raise EndpointFailed(f"Endpoint {name} is {state} after it was {action}. Delete it and run again.")
    return _ref(written, action, reason)


def _ref(endpoint: Any, action: Action, reason: str) -> EndpointRef:
    return EndpointRef(
        name=str(endpoint.name),
        scoring_uri=str(endpoint.scoring_uri),
        expires_at=str((endpoint.tags or {}).get(EXPIRES_TAG, "")),
        action=action,
        reason=reason,
    )
