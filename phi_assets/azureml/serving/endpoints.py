"""The managed online endpoint: created with a lease, kept, and deleted for good."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.compute.identities import identity_entity, identity_of, is_identity
from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import EndpointFailed
from phi_assets.azureml.connection.inventory import find_endpoint
from phi_assets.azureml.connection.locks import deletion_advice
from phi_assets.azureml.connection.operations import Course
from phi_assets.azureml.connection.provisioning import has_succeeded, settled, state_of, wait_until_gone
from phi_assets.azureml.connection.refusals import is_name_held, next_step
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.connection.status import service_text
from phi_assets.azureml.connection.writes import is_in_conflict, write
from phi_assets.azureml.ownership import Owner, Tags, Whose, maker_of
from phi_assets.azureml.serving.leases import EXPIRES_TAG, lease_end, new_lease
from phi_assets.config.endpoint_names import endpoint_names, used_name
from phi_assets.config.limits import ENDPOINT_NAME
from phi_assets.config.recipe import ServingSection
from phi_assets.refs import Action, EndpointRef

ENDPOINT_TAKEN, ENDPOINT_OF_ANOTHER_RECIPE = "endpoint_taken", "endpoint_of_another_recipe"
"""Preflight's codes for an endpoint that is not this recipe's."""

_LIMIT_SECONDS = 30 * 60.0
"""What the service gives its own operations on endpoints (`x-ms-async-operation-timeout: PT30M`)."""
_NAME_RELEASE_SECONDS = 180.0
"""A name is released a little after its endpoint is gone; until then the service answers 400, 404 or 409."""


def ensure_endpoint(
    ws: Workspace,
    section: ServingSection,
    log: Log = silent,
    *,
    owner: Owner | None = None,
    accepted: Collection[str] = (),
) -> EndpointRef:
    """The endpoint exists in state Succeeded with the recipe's authentication, the owner's tags and a lease.

    The lease is the tag `expires_at`, after which the endpoint counts as forgotten. It is renewed when less than half
    of it is left, so that repeated runs write nothing. Traffic is left as it is. The owner is the project, unless one
    is given. An endpoint of anybody else is refused; where the recipe accepts that code of preflight, it becomes the
    owner's.

    Raises:
        EndpointFailed: the service refused it, it did not settle, or it is somebody else's.
    """
    owner = owner or ws.owner()
    section = section.model_copy(update={"endpoint": _name(ws, section, owner, log)})
    existing = _settled(ws, str(section.endpoint), log)
    lease = _lease(existing)
    renewed = not _is_fresh(lease, ws.clock.now() or datetime.now(UTC), section)
    if renewed:
        lease = new_lease(ws, section.lease_hours)
    wanted = {**section.tags, **owner.tags, EXPIRES_TAG: str(lease)}
    check_owner = partial(_check_owner, owner=owner, accepted=accepted)
    if existing is not None:
        check_owner(existing)
        _check_existing(existing, section)
        if _is_as_wanted(existing, section, wanted):
            log(f"Endpoint {section.endpoint} is ready; its lease ends at {lease}.")
            return _ref(existing, "reused", f"Endpoint {section.endpoint} is ready and its lease is fresh.")
    reason = _reason(section, existing, wanted, renewed)
    log(f"{'Creating' if existing is None else 'Updating'} endpoint {section.endpoint}; its lease ends at {lease}.")
    return _put(ws, section, wanted, check_owner, "created" if existing is None else "updated", reason, log)


def recipes_endpoint(ws: Workspace, section: ServingSection, owner: Owner, log: Log = silent) -> Any | None:
    """The recipe's endpoint as the service has it, under whichever of its names; None where there is none."""
    return find_endpoint(ws, _name(ws, section, owner, log), log)


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
            send=lambda _: ws.ml.online_endpoints.begin_delete(name=name),
            is_done=lambda endpoint: endpoint is None,
            log=log,
            course=_course(ws, name),
        )
    except AzureError as error:
        raise EndpointFailed(
            f"Endpoint {name} could not be deleted and is still billing: {one_line(error)}. "
            f"{deletion_advice(ws, error, 'Delete it in Studio.')}",
            studio_url=ws.endpoint_studio_url(name),
        ) from error
    wait_until_gone(lambda: find_endpoint(ws, name, log), _course(ws, name), log)
    return True


def taken_in_words(tags: Tags, owner: Owner) -> tuple[str, str, str] | None:
    """Preflight's code for an endpoint with these tags, why it is not the owner's, and what to do; None if it is."""
    whose = owner.whose(tags)
    if whose is Whose.OURS:
        return None
    code = ENDPOINT_OF_ANOTHER_RECIPE if whose is Whose.OTHER_RECIPE else ENDPOINT_TAKEN
    return (
        code,
        f"exists and was made by {maker_of(tags)}; the recipe would take all of its traffic",
        "Give `serving.endpoint` another name, or accept it, so that it becomes this recipe's, which gives it a lease "
        f"and may delete it: `preflight.accept: [{code}]`.",
    )


def _check_owner(endpoint: Any, owner: Owner, accepted: Collection[str]) -> None:
    taken = taken_in_words(endpoint.tags, owner)
    if taken is not None and taken[0] not in accepted:
        raise EndpointFailed(f"Endpoint {endpoint.name} {taken[1]}. Nothing was changed. {taken[2]}")


def _name(ws: Workspace, section: ServingSection, owner: Owner, log: Log) -> str:
    """The endpoint's name; one that the recipe's endpoint has from before is used on."""
    names = endpoint_names(section, owner.recipe, ws.path)
    if (problem := ENDPOINT_NAME.problem(names[0])) is not None:
        raise EndpointFailed(f"{problem}. Change `serving.endpoint`.")

    def is_the_recipes(name: str) -> bool:
        found = find_endpoint(ws, name, log)
        return found is not None and owner.is_named_by(found.tags)

    name = used_name(names, is_the_recipes)
    if name != names[0]:
        log(f"Endpoint {name} is this recipe's from before, and is used on; a new one would be {names[0]}.")
    return name


def _check_existing(endpoint: Any, section: ServingSection) -> None:
    mode = service_text(endpoint.auth_mode).lower()
    if mode != section.auth_mode:
        raise EndpointFailed(
            f"Endpoint {section.endpoint} exists with authentication {mode!r}, not {section.auth_mode!r}, which cannot "
            "be changed. Delete it, set `serving.auth_mode`, or give `serving.endpoint` another name."
        )
    if not is_identity(endpoint, section.identity):
        raise EndpointFailed(
            f"Endpoint {section.endpoint} exists with identity {identity_of(endpoint)}, not {section.identity}, which "
            "cannot be changed. Delete it, set `serving.identity`, or give `serving.endpoint` another name."
        )


def _is_fresh(lease: str | None, now: datetime, section: ServingSection) -> bool:
    ends = lease_end({EXPIRES_TAG: lease} if lease else None)
    return ends is not None and ends - now > timedelta(hours=section.lease_hours) / 2


def _settled(ws: Workspace, name: str, log: Log) -> Any | None:
    return settled(lambda: find_endpoint(ws, name, log), _course(ws, name), log)


def _course(ws: Workspace, name: str) -> Course:
    watched = ws.watched(f"Endpoint {name}", ws.endpoint_studio_url(name), goes_on="It stays as it is")
    return Course(watched, EndpointFailed, _LIMIT_SECONDS)


def _lease(endpoint: Any) -> str | None:
    return None if endpoint is None else (endpoint.tags or {}).get(EXPIRES_TAG)


def _is_as_wanted(endpoint: Any, section: ServingSection, tags: Mapping[str, str]) -> bool:
    if endpoint is None or not has_succeeded(endpoint) or not _has_access(endpoint, section):
        return False
    return tags.items() <= (endpoint.tags or {}).items()


def _has_access(endpoint: Any, section: ServingSection) -> bool:
    wanted = section.public_network_access
    return wanted is None or _access_of(endpoint) == wanted


def _access_of(endpoint: Any) -> str:
    return service_text(getattr(endpoint, "public_network_access", None) or "enabled").lower()


def _reason(section: ServingSection, endpoint: Any, tags: Mapping[str, str], renewed: bool) -> str:
    name = section.endpoint
    if endpoint is None:
        return f"Endpoint {name} did not exist."
    if not has_succeeded(endpoint):
        return f"Endpoint {name} was {state_of(endpoint)}."
    if renewed:
        return f"Less than half of the lease of endpoint {name} was left."
    if not _has_access(endpoint, section):
        return f"Public network access of endpoint {name} was {_access_of(endpoint)}."
    have = endpoint.tags or {}
    return f"Endpoint {name} lacked tags: {', '.join(key for key, value in tags.items() if have.get(key) != value)}."


def _put(
    ws: Workspace,
    section: ServingSection,
    tags: Mapping[str, str],
    check_owner: Callable[[Any], None],
    action: Action,
    reason: str,
    log: Log,
) -> EndpointRef:
    name = str(section.endpoint)

    def send(existing: Any) -> object:
        if existing is not None:
            # Somebody else may have made it since it was looked for.
            check_owner(existing)
        endpoint = existing or sdk().entities.ManagedOnlineEndpoint(
            name=name,
            description="Fine-tuned chat completion",
            auth_mode=section.auth_mode,
            identity=identity_entity(section.identity),
        )
        if section.public_network_access is not None:
            endpoint.public_network_access = section.public_network_access
        endpoint.tags = {**(endpoint.tags or {}), **tags}
        return ws.ml.online_endpoints.begin_create_or_update(endpoint)

    try:
        written = write(
            f"Endpoint {name}",
            look=lambda: _settled(ws, name, log),
            send=send,
            is_done=lambda endpoint: _is_as_wanted(endpoint, section, tags),
            log=log,
            course=_course(ws, name),
            conflict_patience_seconds=_NAME_RELEASE_SECONDS,
            is_conflict=lambda error: is_in_conflict(error) or is_name_held(error),
        ).found
    except AzureError as error:
        raise EndpointFailed(
            f"Endpoint {name} could not be {action}: {one_line(error)}. {next_step(error, _taken(error))}"
        ) from error
    if written is None or not has_succeeded(written):
        state = "gone" if written is None else f"in state {state_of(written)}"
        raise EndpointFailed(f"Endpoint {name} is {state} after it was {action}. Delete it and run again.")
    check_owner(written)
    return _ref(written, action, reason)


def _taken(error: AzureError) -> str:
    held = ""
    if is_name_held(error) or is_in_conflict(error):
        held = f"A name is released within {_NAME_RELEASE_SECONDS:.0f} s of a deletion, and this one was not. "
    return f"{held}Endpoint names are unique per region, over all customers; `serving.endpoint` sets another."


def _ref(endpoint: Any, action: Action, reason: str) -> EndpointRef:
    return EndpointRef(
        name=str(endpoint.name),
        scoring_uri=str(endpoint.scoring_uri),
        expires_at=str((endpoint.tags or {}).get(EXPIRES_TAG, "")),
        action=action,
        reason=reason,
    )
