"""Live traffic: all of it to the newest deployment, seen by reading it back; older deployments retired."""

from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.deployments import delete_deployment
from phi_assets.azureml.errors import DeploymentFailed, TrafficFailed
from phi_assets.azureml.provisioning import MANAGED_TAG, is_settled, settled
from phi_assets.azureml.retry import Log, get_or_none, one_line, ride_out, silent, wait_until
from phi_assets.azureml.writes import write
from phi_assets.refs import DeploymentRef, EndpointRef, TrafficRef

_VISIBLE_TIMEOUT_SECONDS = 15 * 60.0


def ensure_traffic(ws: Workspace, endpoint: EndpointRef, deployment: DeploymentRef, log: Log = silent) -> TrafficRef:
    """All live traffic goes to the deployment, and no older deployment of this project is left to bill.

    Deployments that this project did not make lose their traffic but are kept, and named in the log.

    Raises:
        TrafficFailed: the endpoint is gone, the service refused, or the traffic does not become visible.
    """
    wanted = {deployment.name: 100}
    current = _endpoint(ws, endpoint.name, log)
    before = _traffic(current)
    moved = not _shows(current, wanted)
    if moved:
        log(f"Endpoint {endpoint.name}: traffic {before or 'nowhere'} -> {wanted}.")
        current = _move(ws, endpoint.name, wanted, log)
    retired = _retire(ws, endpoint.name, deployment.name, log)
    log(f"Endpoint {endpoint.name}: all traffic goes to {deployment.name}.")
    return TrafficRef(
        endpoint=endpoint.name,
        scoring_uri=str(current.scoring_uri),
        traffic=_traffic(current),
        model_id=deployment.model_id,
        retired=tuple(retired),
        action="updated" if moved or retired else "reused",
        reason=_reason(before, deployment.name, moved, retired),
    )


def _reason(before: dict[str, int], live: str, moved: bool, retired: list[str]) -> str:
    if moved:
        shares = ", ".join(f"{name} {share} %" for name, share in before.items()) or "nowhere"
        return f"Traffic went to {shares} instead of {live}."
    if retired:
        return f"Deployments without traffic were left: {', '.join(retired)}."
    return f"All traffic goes to {live} already."


def _move(ws: Workspace, name: str, wanted: dict[str, int], log: Log) -> Any:
    def send(endpoint: Any) -> None:
        endpoint.traffic = dict(wanted)
        endpoint.mirror_traffic = {}
        ws.ml.online_endpoints.begin_create_or_update(endpoint).wait()

    try:
        current = write(
            f"Traffic of endpoint {name}",
            look=lambda: _settled(ws, name, log),
            send=send,
            is_done=lambda endpoint: _shows(endpoint, wanted),
            log=log,
        ).found
    except AzureError as error:
        raise TrafficFailed(
            f"Traffic of endpoint {name} could not be set to {wanted}: {one_line(error)}. Run again; the old "
            "traffic stays as it was."
        ) from error
    return current if _shows(current, wanted) else _wait_visible(ws, name, wanted, log)


def _shows(endpoint: Any, wanted: dict[str, int]) -> bool:
    return is_settled(endpoint) and _traffic(endpoint) == wanted and not endpoint.mirror_traffic


def _wait_visible(ws: Workspace, name: str, wanted: dict[str, int], log: Log) -> Any:
    seen: list[Any] = []

    def done() -> bool:
        seen[:] = [_endpoint(ws, name, log)]
        return _shows(seen[0], wanted)

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
            delete_deployment(ws, endpoint, name, log)
        except DeploymentFailed as error:
            raise TrafficFailed(str(error)) from error
        retired.append(name)
    return retired


def _endpoint(ws: Workspace, name: str, log: Log) -> Any:
    found = ride_out(lambda: get_or_none(lambda: ws.ml.online_endpoints.get(name)), f"endpoint {name}", log)
    if found is None:
        raise TrafficFailed(f"Endpoint {name} is gone. Materialize online_endpoint again.")
    return found


def _settled(ws: Workspace, name: str, log: Log) -> Any:
    return settled(lambda: _endpoint(ws, name, log), f"Endpoint {name}", TrafficFailed, _VISIBLE_TIMEOUT_SECONDS, log)


def _traffic(endpoint: Any) -> dict[str, int]:
    return {str(name): int(share) for name, share in (endpoint.traffic or {}).items() if int(share)}
