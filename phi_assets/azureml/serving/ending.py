"""The end of an endpoint, as far as it is ours: what somebody else has put behind it stays."""

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.inventory import find_deployments, find_endpoint
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.ownership import Owner, belonging, maker_of
from phi_assets.azureml.serving.deployments import delete_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint
from phi_assets.azureml.serving.rollout import scaled
from phi_assets.azureml.serving.traffic import move, routing_of


def end_endpoint(ws: Workspace, name: str, owner: Owner, log: Log = silent) -> bool:
    """Whether the endpoint is gone: deleted with its deployments, unless it or one of them is somebody else's.

    Of an endpoint of the owner's that has a deployment of somebody else's, the owner's deployments are gone, and the
    traffic that they had goes to those that have some besides. An endpoint of somebody else is left alone.

    Raises:
        EndpointFailed, DeploymentFailed, TrafficFailed: something could not be deleted; the message says what.
    """
    found = find_endpoint(ws, name, log)
    if found is None:
        log(f"Endpoint {name} does not exist; nothing to delete.")
        return True
    if not owner.owns(found.tags):
        log(f"Endpoint {name} is not ours: it was made by {maker_of(found.tags)}. It is left alone.")
        return False
    tags = {each.name.lower(): belonging(each.tags, found.tags) for each in find_deployments(ws, name, log) or []}
    strangers = {key for key in tags if not owner.owns(tags[key])}
    if not strangers:
        delete_endpoint(ws, name, log)
        return True
    for key in sorted(strangers):
        log(f"Deployment {key} is not ours: it was made by {maker_of(tags[key])}. It and endpoint {name} stay.")
    routing = routing_of(ws, name, log, owner=owner)
    ours = tags.keys() - strangers
    if ours & {*routing.live, *routing.mirror}:
        rest = {key: share for key, share in routing.live.items() if key in strangers}
        move(ws, routing, scaled(rest, 100) if rest else {}, log=log)
    for key in sorted(ours):
        delete_deployment(ws, name, key, log)
    return False
