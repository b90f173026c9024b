"""Live traffic: all of it to the newest deployment, seen by reading it back; older deployments retired."""

from typing import Any

from azure.core.exceptions import HttpResponseError

from phi_assets.azureml.client import Workspace, without_sdk_chatter
from phi_assets.azureml.deployments import MANAGED_TAG
from phi_assets.azureml.errors import TrafficFailed
from phi_assets.azureml.provisioning import is_settled
from phi_assets.azureml.retry import Log, get_or_none, one_line, ride_out, silent, wait_until
from phi_assets.refs import Action, DeploymentRef, EndpointRef, TrafficRef

_VISIBLE_TIMEOUT_SECONDS = 15 * 60.0


def ensure_traffic(ws: Workspace, endpoint: EndpointRef, deployment: DeploymentRef, log: Log = silent) -> TrafficRef:
    """All live traffic goes to the deployment, and no older deployment of this project is left to bill.

    Deployments that this project did not make lose their traffic but are kept, and named in the log.

    Raises:
        TrafficFailed: the endpoint is gone, the service refused, or the traffic does not become visible.
    """
    wanted = {deployment.name: 100}
    current = _endpoint(ws, endpoint.name, log)
    moved = _traffic(current) != wanted or bool(current.mirror_traffic)
    if moved:
        _move(ws, current, wanted, log)
        current = _wait_visible(ws, endpoint.name, wanted, log)
    retired = _retire(ws, endpoint.name, deployment.name, log)
    action: Action = "updated" if moved or retired else "reused"
    log(f"Endpoint {endpoint.name}: all traffic goes to {deployment.name}.")
    return TrafficRef(
        endpoint=endpoint.name,
        scoring_uri=str(current.scoring_uri),
        traffic=_traffic(current),
        model_id=deployment.model_id,
        retired=tuple(retired),
        action=action,
    )


def _move(ws: Workspace, endpoint: Any, wanted: dict[str, int], log: Log) -> None:
    log(f"Endpoint {endpoint.name}: traffic {_traffic(endpoint) or 'nowhere'} -> {wanted}.")
    endpoint.traffic = dict(wanted)
    endpoint.mirror_traffic = {}
    try:
        with without_sdk_chatter():
            ws.ml.online_endpoints.begin_create_or_update(endpoint).wait()
    except HttpResponseError as error:
        raise TrafficFailed(
            f"Traffic of endpoint {endpoint.name} could not be set to {wanted}: {one_line(error)}. Run again; the old "
            "traffic stays as it was."
        ) from error


def _wait_visible(ws: Workspace, name: str, wanted: dict[str, int], log: Log) -> Any:
    seen: list[Any] = []

    def done() -> bool:
        seen[:] = [_endpoint(ws, name, log)]
        return _traffic(seen[0]) == wanted and is_settled(seen[0])

    wait_until(
        done,
        _VISIBLE_TIMEOUT_SECONDS,
        lambda: TrafficFailed(f"Endpoint {name} shows traffic {_traffic(seen[0])} instead of {wanted}; run again."),
    )
    return seen[0]


def _retire(ws: Workspace, endpoint: str, live: str, log: Log) -> list[str]:
    retired: list[str] = []
    deployments = ride_out(
        lambda: list(ws.ml.online_deployments.list(endpoint_name=endpoint)), f"deployments of {endpoint}", log
    )
    for other in deployments:
        name = str(other.name)
        if name.lower() == live.lower():
            continue
        if MANAGED_TAG not in (other.tags or {}):
            log(f"Deployment {name} is not this project's; it is kept without traffic, and is billing.")
            continue
        log(f"Deleting deployment {name}, which has no traffic any more.")
        try:
            with without_sdk_chatter():
                ws.ml.online_deployments.begin_delete(name=name, endpoint_name=endpoint).wait()
        except HttpResponseError as error:
            raise TrafficFailed(
                f"Deployment {name} could not be deleted and is billing: {one_line(error)}. Run again."
            ) from error
        retired.append(name)
    return retired


def _endpoint(ws: Workspace, name: str, log: Log) -> Any:
    found = ride_out(lambda: get_or_none(lambda: ws.ml.online_endpoints.get(name)), f"endpoint {name}", log)
    if found is None:
        raise TrafficFailed(f"Endpoint {name} is gone. Materialize online_endpoint again.")
    return found


def _traffic(endpoint: Any) -> dict[str, int]:
    return {str(name): int(share) for name, share in (endpoint.traffic or {}).items() if int(share)}
