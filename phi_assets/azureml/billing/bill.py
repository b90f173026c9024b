"""What is billing: every endpoint, deployment and cluster with nodes of the workspace, whoever made it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
from azure.core.exceptions import AzureError

from phi_assets.azureml.billing.prices import PriceList
from phi_assets.azureml.connection.arm import arm_list
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ListingFailed
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.ownership import belonging, maker_of, person_of, recipe_of
from phi_assets.azureml.serving.leases import has_expired, lease_end

Kind = Literal["endpoint", "deployment", "cluster", "instance"]


@dataclass(frozen=True)
class Billed:
    """Something of the workspace that is billed for as long as it exists."""

    kind: Kind
    name: str
    """Deployments: `<endpoint>/<name>`."""
    state: str
    created: datetime | None
    owner: str
    """The tag `owner`, else who made it as far as the service says; a deployment without one has its endpoint's."""
    recipe: str
    """The tag of the recipe that it was made for."""
    is_ours: bool
    """This project has made it, for whichever recipe."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What says whose it is; a deployment of ours that does not say so has its endpoint's."""
    size: str = ""
    machines: int = 0
    hourly: float | None = 0.0
    """Price of an hour; None where no price is known. An endpoint by itself costs nothing, its deployments do."""
    expires: datetime | None = None
    has_expired: bool = False
    model: str = ""
    percent: int = 0
    """Of the endpoint's live traffic."""

    @property
    def maker(self) -> str:
        """Who has made it, by its tags."""
        return maker_of(self.tags)


@dataclass(frozen=True)
class Bill:
    """What is billing in a workspace at a moment."""

    workspace: str
    region: str
    at: datetime
    prices: PriceList | None
    items: tuple[Billed, ...]

    @property
    def hourly(self) -> float:
        """What is known to be charged for an hour of all of it."""
        return sum(item.hourly or 0.0 for item in self.items)

    @property
    def unpriced(self) -> list[Billed]:
        """What costs something that is not known."""
        return [item for item in self.items if item.hourly is None]

    @property
    def left_alone(self) -> list[str]:
        """A line for everything that is not this project's, and that nothing here ends."""
        return [
            f"Not ours, left alone: {item.kind} {item.name}, made by {item.maker}{self.cost_of([item])}."
            for item in self.items
            if not item.is_ours
        ]

    def cost_of(self, items: Iterable[Billed]) -> str:
        """What an hour of them costs, to be added to a sentence; empty where it costs nothing or has no price."""
        hourly = sum(item.hourly or 0.0 for item in items)
        return f", {hourly:.2f} {self.prices.currency} an hour" if hourly and self.prices is not None else ""

    def of(self, kind: Kind) -> list[Billed]:
        """The items of a kind."""
        return [item for item in self.items if item.kind == kind]

    def of_endpoint(self, name: str) -> list[Billed]:
        """The endpoint of this name and its deployments."""
        key = name.lower()
        return [item for item in self.items if item.name.lower() == key or item.name.lower().startswith(f"{key}/")]

    def is_of_recipe(self, endpoint: str, recipe: str) -> bool:
        """Whether this project made the endpoint of this name, for the recipe of that one."""
        return any(
            item.is_ours and item.recipe == recipe for item in self.of_endpoint(endpoint) if item.kind == "endpoint"
        )

    @property
    def in_words(self) -> str:
        """One sentence."""
        if not self.items:
            return f"Nothing is billing in workspace {self.workspace}."
        counts = [(len(self.of(kind)), kind) for kind in ("endpoint", "deployment", "cluster", "instance")]
        what = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for count, kind in counts if count)
        return f"Billing in workspace {self.workspace}: {what}; {self.price_in_words}."

    @property
    def price_in_words(self) -> str:
        """What an hour costs."""
        if self.prices is None:
            return "no prices are known"
        unknown = f" and {len(self.unpriced)} without a known price" if self.unpriced else ""
        return f"{self.hourly:.2f} {self.prices.currency} an hour (list price){unknown}"


def read_bill(ws: Workspace, prices: PriceList | None, log: Log = silent) -> Bill:
    """Everything in the workspace that is billed by the hour; one request and one more for every endpoint.

    Raises:
        ListingFailed: the service does not say everything, so nothing is known.
    """
    try:
        items = (*_endpoints(ws, prices, log), *_computes(ws, prices, log))
    except (AzureError, httpx.HTTPError) as error:
        raise ListingFailed(
            f"What is billing in workspace {ws.name} cannot be listed: {one_line(error)}. It may be a lot: look in "
            "Studio, or run again."
        ) from error
    return Bill(ws.name, ws.location, ws.clock.now() or datetime.now(UTC), prices, items)


# As the service says it: the SDK takes longer to import than all of this to read.
def _endpoints(ws: Workspace, prices: PriceList | None, log: Log) -> Iterator[Billed]:
    for document in sorted(arm_list(ws, "onlineEndpoints", log), key=_name_of):
        said, tags = document.get("properties") or {}, document.get("tags") or {}
        about = {**(document.get("systemData") or {}), **(said.get("properties") or {})}
        item = Billed(
            kind="endpoint",
            name=_name_of(document),
            state=_state_of(said),
            created=_moment(about.get("createdAt")),
            owner=person_of(tags) or str(about.get("createdBy") or ""),
            recipe=recipe_of(tags),
            is_ours=ws.owner().owns(tags),
            tags=tags,
            expires=lease_end(tags),
            has_expired=has_expired(tags, ws.clock.now(), ws.owner()),
        )
        yield item
        yield from _deployments(ws, item, said.get("traffic") or {}, prices, log)


def _deployments(
    ws: Workspace, endpoint: Billed, traffic: Mapping[str, Any], prices: PriceList | None, log: Log
) -> Iterator[Billed]:
    try:
        found = list(arm_list(ws, f"onlineEndpoints/{endpoint.name}/deployments", log))
    except httpx.HTTPStatusError as error:
        # An endpoint may go between the two lists.
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise
        return
    shares = {name.lower(): int(share) for name, share in traffic.items()}
    for document in found:
        said, tags = document.get("properties") or {}, belonging(document.get("tags"), endpoint.tags)
        name, machines = _name_of(document), int((document.get("sku") or {}).get("capacity") or 0)
        size = str(said.get("instanceType") or "")
        yield Billed(
            kind="deployment",
            name=f"{endpoint.name}/{name}",
            state=_state_of(said),
            created=_moment((document.get("systemData") or {}).get("createdAt")),
            owner=person_of(tags) or endpoint.owner,
            recipe=recipe_of(tags),
            is_ours=ws.owner().owns(tags),
            tags=tags,
            size=size,
            machines=machines,
            hourly=_hourly(prices, size, machines),
            expires=endpoint.expires,
            has_expired=endpoint.has_expired,
            model=str(said.get("model") or ""),
            percent=shares.get(name.lower(), 0),
        )


def _name_of(document: Mapping[str, Any]) -> str:
    return str(document.get("name"))


def _state_of(properties: Mapping[str, Any]) -> str:
    return str(properties.get("provisioningState") or "unknown")


def _computes(ws: Workspace, prices: PriceList | None, log: Log) -> Iterator[Billed]:
    """Clusters that have nodes, or are about to, and compute instances that run."""
    for document in arm_list(ws, "computes", log):
        outer = document.get("properties") or {}
        inner, tags = outer.get("properties") or {}, document.get("tags") or {}
        reader = _READERS.get(str(outer.get("computeType")).lower())
        if reader is None:
            continue
        kind, machines, tier = reader(inner)
        if not machines:
            continue
        size = str(inner.get("vmSize") or "")
        yield Billed(
            kind=kind,
            name=str(document.get("name")),
            state=str(
                inner.get("state") or inner.get("allocationState") or outer.get("provisioningState") or "unknown"
            ),
            created=_moment(outer.get("createdOn")),
            owner=person_of(tags) or str(((inner.get("createdBy") or {}).get("userName")) or ""),
            recipe=recipe_of(tags),
            is_ours=ws.owner().owns(tags),
            tags=tags,
            size=size,
            machines=machines,
            hourly=_hourly(prices, size, machines, tier),
        )


def _cluster(inner: Mapping[str, Any]) -> tuple[Kind, int, str]:
    # While it shrinks it still has the old nodes, while it grows it soon has the new ones.
    nodes = max(int(inner.get("currentNodeCount") or 0), int(inner.get("targetNodeCount") or 0))
    return "cluster", nodes, str(inner.get("vmPriority") or "Dedicated")


def _instance(inner: Mapping[str, Any]) -> tuple[Kind, int, str]:
    is_off = str(inner.get("state")).lower() in {"stopped", "deleting", "createfailed"}
    return "instance", 0 if is_off else 1, "Dedicated"


_READERS: Mapping[str, Callable[[Mapping[str, Any]], tuple[Kind, int, str]]] = {
    "amlcompute": _cluster,
    "computeinstance": _instance,
}


def _hourly(prices: PriceList | None, size: str, machines: int, tier: str = "Dedicated") -> float | None:
    price = prices.hourly_price(size, tier) if prices is not None else None
    return None if price is None else price * machines


def _moment(value: Any) -> datetime | None:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value or ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
