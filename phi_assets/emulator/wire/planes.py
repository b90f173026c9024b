"""Which route of which plane a request is for, in the words of the control plane and the journal."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from starlette.types import Scope

from phi_assets.emulator.wire.paths import DATA_PLANE, HISTORY, LOC, MLFLOW, REGISTRY, REGISTRY_DISCOVERY, WS
from phi_assets.emulator.wire.route_table import RouteTable

Plane = Literal["arm", "history", "mlflow", "registry", "blob", "scoring", "discovery"]
"""`discovery` is everything that a client asks before it knows where the others are: metadata, tokens."""

UNKNOWN_ROUTE = "(no route)"

_METRICS = "/metric/v2.0" + WS
_SUBSCRIPTION = "/subscriptions/{subscription}"
_ACCOUNT = "/{account}.blob.{suffix}"
# What comes first is looked at first; what is cut off is the prefix, so that a route reads `/jobs/{name}`.
_PREFIXES: tuple[tuple[str, Plane], ...] = (
    (HISTORY, "history"),
    (DATA_PLANE, "history"),
    (_METRICS, "history"),
    (MLFLOW, "mlflow"),
    (REGISTRY, "registry"),
    (REGISTRY_DISCOVERY.removesuffix("/discovery"), "registry"),
    (WS, "arm"),
    (LOC, "arm"),
    (_SUBSCRIPTION, "arm"),
    (_ACCOUNT, "blob"),
)
_OFF_THE_RECORD = ("/_control", "/healthz")


@dataclass(frozen=True)
class RouteName:
    """`route` is the route's template without the path of the workspace, region, registry or account before it."""

    route: str
    plane: Plane


class RouteNames:
    """Finds the name of a request's route among those of `table`."""

    def __init__(self, table: RouteTable):
        self._table = table

    def of(self, scope: Scope) -> RouteName | None:
        """None for the control plane and the health check, which no fault, limit or journal is concerned with."""
        if scope["path"].lower().startswith(_OFF_THE_RECORD):
            return None
        routes = self._table.at(scope["path"])
        if not routes:
            return RouteName(UNKNOWN_ROUTE, "discovery")
        # A method that the path does not have is the same route still.
        name = route_name(routes[0].path)
        if "{kind}" not in name.route:
            return name
        _, child = routes[0].matches(scope)
        return RouteName(name.route.replace("{kind}", child["path_params"]["kind"].lower()), name.plane)


SERVICES = (
    *("subscriptions", "history", "mlflow", "metric", "data", "mferp", "registrymanagement", "modelmanagement"),
    *("modelregistry", "content", "artifact", "execution", "experiments", "providers", "tenants", "batchendpoints"),
    *("assetstore", "dataset", "dataplane"),
)
"""First segments of the paths that Azure has."""

_SERVICES = re.compile(rf"/(?:{'|'.join(SERVICES)})(?:/|$)", re.IGNORECASE)
_WORKSPACE_PATH = re.compile(r".*/providers/[^/]+/(?:workspaces|registries)/[^/]+(?=/|$)", re.IGNORECASE)


def service_of(path: str) -> str | None:
    """What of the service a path that no route has is about, for people; None if Azure has no such paths either.

    A client must not take it for a resource that does not exist yet.
    """
    if not _SERVICES.match(path):
        return None
    head = _WORKSPACE_PATH.match(path)
    return path[head.end() :] if head and head.end() < len(path) else path


@cache
def route_name(template: str) -> RouteName:
    """The name of the route that has this template."""
    for prefix, plane in _PREFIXES:
        if template.startswith(prefix):
            rest = template.removeprefix(prefix)
            return RouteName(rest.replace("{deployment}", "{name}").replace(":path}", "}") or "/", plane)
    return RouteName(template, "scoring" if template.startswith("/endpoints/") else "discovery")
