"""The end of leases: endpoints of this project that nobody has asked for again in time."""

from collections.abc import Callable, Collection
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import EndpointFailed, ListingFailed
from phi_assets.azureml.connection.inventory import find_endpoint
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent
from phi_assets.azureml.serving.endpoints import delete_endpoint
from phi_assets.azureml.serving.leases import has_expired, lease_end


def expired_endpoints(ws: Workspace, log: Log = silent) -> list[str]:
    """Names of the endpoints of this project whose lease has ended by the service's clock; one list is read.

    Raises:
        ListingFailed: the service does not say.
    """
    try:
        found: list[Any] = ride_out(lambda: list(ws.ml.online_endpoints.list()), "endpoints", log)
    except AzureError as error:
        raise ListingFailed(
            f"The endpoints of workspace {ws.name} cannot be listed: {one_line(error)}. Run again."
        ) from error
    return sorted(str(endpoint.name) for endpoint in found if has_expired(endpoint.tags, ws.clock.now()))


def reap(
    ws: Workspace,
    *,
    only: Collection[str] = (),
    on_name: Callable[[str], None] = silent,
    log: Log = silent,
) -> list[str]:
    """No endpoint of this project is alive whose lease has ended; the names of those that were.

    With `only`, others are left alone. `on_name` hears each name before anything is done to it. One whose lease was
    renewed since the list was read stays.

    Raises:
        ListingFailed: the service does not say what there is.
        EndpointFailed: some could not be deleted; the others are gone.
    """
    deleted: list[str] = []
    failures: list[str] = []
    for name in expired_endpoints(ws, log):
        if only and name not in only:
            continue
        endpoint = find_endpoint(ws, name, log)
        if endpoint is None or not has_expired(endpoint.tags, ws.clock.now()):
            log(f"Endpoint {name} is gone or has a new lease.")
            continue
        log(f"The lease of endpoint {name} ended at {lease_end(endpoint.tags)}.")
        on_name(name)
        try:
            delete_endpoint(ws, name, log)
            deleted.append(name)
        except EndpointFailed as error:
            failures.append(str(error))
            log(str(error))
    if failures:
        raise EndpointFailed(" ".join(failures))
    return deleted
