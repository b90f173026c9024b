"""What is in the workspace now, for those who only look: single reads by name, whose number does not grow with it.

A workspace keeps its jobs for ever and lists them in pages, so nothing here lists jobs: a job's name can be computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.provisioning import is_settled, state_of
from phi_assets.azureml.connection.retry import Log, find, silent
from phi_assets.azureml.ownership import Owner, Tags, belonging, maker_of

_BROKEN = frozenset({"failed", "canceled"})


@dataclass(frozen=True)
class Resource:
    """An endpoint or a deployment, as far as its life goes."""

    name: str
    state: str
    """Its provisioning state as the service spells it."""
    is_settled: bool
    """Nobody is creating, changing or deleting it."""
    tags: Tags = None

    @property
    def is_broken(self) -> bool:
        """It stays out of service until somebody acts."""
        return self.state.lower() in _BROKEN


@dataclass(frozen=True)
class EndpointState:
    """An endpoint with what is behind it."""

    endpoint: Resource | None
    """None where there is no such endpoint."""
    traffic: Mapping[str, int]
    """Deployment to its share in percent; deployments without any are left out."""
    deployments: Mapping[str, Resource]

    def not_ours(self, owner: Owner) -> str | None:
        """What is somebody else's of the endpoint and of the deployments that get its traffic, as one sentence."""
        around = self.endpoint.tags if self.endpoint is not None else None
        if self.endpoint is not None and not owner.owns(around):
            return f"Endpoint {self.endpoint.name} was made by {maker_of(around)}."
        live = {name.lower() for name in self.traffic}
        tags = {name: belonging(each.tags, around) for name, each in self.deployments.items() if name.lower() in live}
        return next(
            (f"Deployment {name} was made by {maker_of(its)}." for name, its in tags.items() if not owner.owns(its)),
            None,
        )

    @property
    def in_motion(self) -> Resource | None:
        """Something of it that somebody is creating, changing or deleting now."""
        everything = [*([self.endpoint] if self.endpoint else []), *self.deployments.values()]
        return next((resource for resource in everything if not resource.is_settled), None)


def find_endpoint(ws: Workspace, name: str, log: Log = silent) -> Any:
    """The endpoint as the SDK has it, or None."""
    return find(lambda: ws.ml.online_endpoints.get(name), f"endpoint {name}", log)


def find_deployments(ws: Workspace, endpoint: str, log: Log = silent) -> list[Any] | None:
    """The endpoint's deployments, or None where there is no such endpoint."""
    return find(lambda: list(ws.ml.online_deployments.list(endpoint_name=endpoint)), f"deployments of {endpoint}", log)


def endpoint_state(ws: Workspace, name: str, log: Log = silent) -> EndpointState:
    """The endpoint as the service has it now; at most three reads."""
    endpoint = find_endpoint(ws, name, log)
    if endpoint is None:
        return EndpointState(None, {}, {})
    deployments = find_deployments(ws, name, log)
    return EndpointState(
        _resource(endpoint),
        {str(key): int(share) for key, share in (endpoint.traffic or {}).items() if int(share)},
        {str(found.name): _resource(found) for found in deployments or []},
    )


def live_share(ws: Workspace, endpoint: str, deployment: str, log: Log = silent) -> int:
    """Percent of the endpoint's requests that go to the deployment; 0 where there is no such endpoint."""
    found = find_endpoint(ws, endpoint, log)
    traffic = (found.traffic if found is not None else None) or {}
    return sum(int(share) for name, share in traffic.items() if name.lower() == deployment.lower())


def _resource(found: Any) -> Resource:
    return Resource(str(found.name), state_of(found), is_settled(found), dict(found.tags or {}))
