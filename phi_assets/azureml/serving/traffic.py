"""Traffic of an endpoint: moved, seen by reading it back; older deployments retired."""

from collections.abc import Callable
from typing import Any, Literal

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import DeploymentFailed, TrafficFailed
from phi_assets.azureml.connection.inventory import find_endpoint
from phi_assets.azureml.connection.operations import Course
from phi_assets.azureml.connection.provisioning import is_settled, settled
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent, wait_until
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.ownership import Owner, maker_of
from phi_assets.azureml.serving.deployments import delete_deployment
from phi_assets.azureml.serving.leases import EXPIRES_TAG, new_lease
from phi_assets.azureml.serving.routing import FALLBACK_TAG, Routing, Shares, in_words
from phi_assets.refs import DeploymentRef, EndpointRef, TrafficRef

_VISIBLE_TIMEOUT_SECONDS = 15 * 60.0
_LIMIT_SECONDS = 30 * 60.0
"""What the service gives its own operations on endpoints (`x-ms-async-operation-timeout: PT30M`)."""


def ensure_traffic(
    ws: Workspace,
    endpoint: EndpointRef,
    deployment: DeploymentRef,
    log: Log = silent,
    *,
    retire: Literal["delete", "keep"] = "delete",
    before: Shares | None = None,
    owner: Owner | None = None,
    lease_hours: float | None = None,
) -> TrafficRef:
    """All live traffic goes to the deployment, and no older deployment of the owner's is left to bill.

    With `retire="keep"` older deployments stay. Those that are not the owner's (the project's, unless one is given)
    stay in any case, without traffic, and are named in the log. `before` is what the traffic was when the caller began
    to move it; `lease_hours` is for `move`.

    Raises:
        TrafficFailed: endpoint or deployment are gone, the endpoint is somebody else's, the service refused, or the
            traffic does not become visible.
    """
    owner = owner or ws.owner()
    wanted = {deployment.name.lower(): 100}
    routing = routing_of(ws, endpoint.name, log, owner=owner)
    had = in_words(routing.live if before is None else before, routing.mirror)
    moved = before not in (None, wanted) or not routing.shows(wanted, {}, None)
    if not routing.shows(wanted, {}, None):
        routing = move(ws, routing, wanted, lease_hours=lease_hours, log=log)
    retired = _retire(ws, routing, deployment.name.lower(), retire, owner, log)
    log(f"Endpoint {endpoint.name}: all traffic goes to {deployment.name}.")
    return TrafficRef(
        endpoint=endpoint.name,
        scoring_uri=routing.scoring_uri,
        traffic=dict(routing.live),
        model_id=deployment.model_id,
        retired=tuple(retired),
        action="updated" if moved or retired else "reused",
        reason=_reason(had, deployment.name, moved, retired),
    )


def routing_of(ws: Workspace, endpoint: str, log: Log = silent, *, owner: Owner | None = None) -> Routing:
    """The endpoint's traffic and deployments, once nobody is changing the endpoint.

    Raises:
        TrafficFailed: there is no such endpoint, it does not settle, or an owner is given and it is somebody else's.
    """
    found = _settled(ws, endpoint, log)
    if owner is not None and not owner.owns(found.tags):
        raise TrafficFailed(
            f"Endpoint {endpoint} was made by {maker_of(found.tags)}; its traffic is left as it is. Materialize "
            "online_endpoint again."
        )
    deployments = ride_out(
        lambda: list(ws.ml.online_deployments.list(endpoint_name=endpoint)), f"deployments of {endpoint}", log
    )
    return Routing.of(found, {str(each.name).lower(): each for each in deployments})


def move(
    ws: Workspace,
    routing: Routing,
    live: Shares,
    mirror: Shares | None = None,
    *,
    fallback: str | None = None,
    lease_hours: float | None = None,
    log: Log = silent,
) -> Routing:
    """The endpoint shows this live and mirrored traffic, read back from the service.

    Nothing is requested that the service would refuse. `fallback` is noted on the endpoint by the same request, and
    with `lease_hours` that its lease begins now: whoever has moved the traffic needs it.

    Raises:
        TrafficFailed: a rule of the service is broken, the service refused, or the traffic does not become visible.
    """
    name, mirror = routing.endpoint, mirror or {}
    wanted = in_words(live, mirror)
    routing.check(live, mirror)
    log(f"Endpoint {name}: traffic {in_words(routing.live, routing.mirror)} -> {wanted}.")

    def send(endpoint: Any) -> object:
        endpoint.traffic, endpoint.mirror_traffic = dict(live), dict(mirror)
        tags = {key: value for key, value in (endpoint.tags or {}).items() if key != FALLBACK_TAG}
        endpoint.tags = tags | ({FALLBACK_TAG: fallback} if fallback else {})
        if lease_hours is not None:
            endpoint.tags[EXPIRES_TAG] = new_lease(ws, lease_hours)
        return ws.ml.online_endpoints.begin_create_or_update(endpoint)

    def is_visible(endpoint: Any) -> bool:
        return is_settled(endpoint) and Routing.of(endpoint, {}).shows(live, mirror, fallback)

    try:
        current = write(
            f"Traffic of endpoint {name}",
            look=lambda: _settled(ws, name, log),
            send=send,
            is_done=is_visible,
            log=log,
            course=_course(ws, name),
        ).found
    except AzureError as error:
        raise TrafficFailed(
            f"Traffic of endpoint {name} could not be set to {wanted}: {one_line(error)}. Run again; the old traffic "
            "stays as it was."
        ) from error
    return Routing.of(_wait_visible(ws, name, current, is_visible, wanted, log), routing.deployments)


def _wait_visible(
    ws: Workspace, name: str, current: Any, is_visible: Callable[[Any], bool], wanted: str, log: Log
) -> Any:
    seen = [current]

    def done() -> bool:
        if not is_visible(seen[0]):
            seen[0] = _endpoint(ws, name, log)
        return is_visible(seen[0])

    def failure() -> TrafficFailed:
        now = Routing.of(seen[0], {})
        return TrafficFailed(
            f"Endpoint {name} shows traffic {in_words(now.live, now.mirror)} instead of {wanted}; run again."
        )

    wait_until(done, _VISIBLE_TIMEOUT_SECONDS, failure)
    return seen[0]


def _reason(had: str, live: str, moved: bool, retired: list[str]) -> str:
    if moved:
        return f"Traffic went to {had} instead of {live}."
    if retired:
        return f"Deployments without traffic were left: {', '.join(retired)}."
    return f"All traffic goes to {live} already."


def _retire(
    ws: Workspace, routing: Routing, live: str, policy: Literal["delete", "keep"], owner: Owner, log: Log
) -> list[str]:
    retired: list[str] = []
    for key in sorted(routing.deployments.keys() - {live}):
        name = str(routing.deployments[key].name)
        if not routing.is_owned(key, owner):
            log(
                f"Deployment {name} is not ours: it was made by {maker_of(routing.tags_of(key))}. It is left alone, "
                "without traffic, and is billing."
            )
            continue
        if policy == "keep":
            log(f"Deployment {name} has no traffic any more; `rollout.retire` keeps it, and it is billing.")
            continue
        log(f"Deleting deployment {name}, which has no traffic any more.")
        try:
            delete_deployment(ws, routing.endpoint, name, log)
        except DeploymentFailed as error:
            raise TrafficFailed(str(error)) from error
        retired.append(name)
    return retired


def _endpoint(ws: Workspace, name: str, log: Log) -> Any:
    found = find_endpoint(ws, name, log)
    if found is None:
        raise TrafficFailed(f"Endpoint {name} is gone. Materialize online_endpoint again.")
    return found


def _settled(ws: Workspace, name: str, log: Log) -> Any:
    return settled(lambda: _endpoint(ws, name, log), _course(ws, name), log)


def _course(ws: Workspace, name: str) -> Course:
    return Course(ws.watched(f"Endpoint {name}", ws.endpoint_studio_url(name)), TrafficFailed, _LIMIT_SECONDS)
