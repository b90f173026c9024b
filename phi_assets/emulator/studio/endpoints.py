"""Online endpoints and what is behind them. The keys of an endpoint are never read here."""

from dataclasses import dataclass

from phi_assets.emulator.serving.deployments import settings_of
from phi_assets.emulator.serving.documents import ENDPOINT, deployments_of, require_endpoint, scoring_uri
from phi_assets.emulator.serving.front.tally import Way
from phi_assets.emulator.serving.logs import INFERENCE_SERVER, STORAGE_INITIALIZER
from phi_assets.emulator.serving.manager import DeploymentManager
from phi_assets.emulator.serving.rules import DeploymentSettings
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.studio.models import workspace_model
from phi_assets.emulator.studio.words import plain
from phi_assets.emulator.workspace.context import Emulator

_LOG_LINES = 200


@dataclass(frozen=True)
class Share:
    """A deployment's part of the traffic, in percent; `start` is where its part of the bar begins."""

    deployment: str
    percent: int
    start: int
    colour: int


@dataclass(frozen=True)
class Requests:
    """How many requests a deployment has got since the emulator started, by the way they came, and how many failed."""

    live: int
    named: int
    mirrored: int
    failures: tuple[tuple[str, int], ...]
    """Status and how often."""


@dataclass(frozen=True)
class DeploymentCard:
    """A deployment."""

    document: Document
    settings: DeploymentSettings
    colour: int
    traffic: int
    mirror: int
    model: str
    model_id: str | None
    """`name:version`, if the model is one of the workspace."""
    requests: Requests
    pending: int | None
    """Requests that are underway; None while it has no process."""
    logs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class EndpointRow:
    """An endpoint in the list."""

    document: Document
    shares: tuple[Share, ...]
    deployments: tuple[Document, ...]


@dataclass(frozen=True)
class EndpointPage:
    """An endpoint."""

    document: Document
    scoring_uri: str
    shares: tuple[Share, ...]
    cards: tuple[DeploymentCard, ...]


def endpoint_rows(emulator: Emulator) -> list[EndpointRow]:
    """All endpoints, the newest first."""
    return [
        EndpointRow(found, _shares(emulator, found), tuple(deployments_of(emulator.store, found["name"])))
        for found in reversed(emulator.store.list(ENDPOINT))
    ]


def endpoint_page(emulator: Emulator, manager: DeploymentManager, name: str) -> EndpointPage:
    """The page of an endpoint.

    Raises:
        ServiceError: 404 if there is none of this name.
    """
    document = require_endpoint(emulator.store, name)
    deployments = deployments_of(emulator.store, name)
    return EndpointPage(
        document=document,
        scoring_uri=scoring_uri(emulator, document["name"]),
        shares=_shares(emulator, document),
        cards=tuple(_card(emulator, manager, document, each, index) for index, each in enumerate(deployments)),
    )


def _shares(emulator: Emulator, endpoint: Document) -> tuple[Share, ...]:
    colours = {
        each["name"].lower(): index for index, each in enumerate(deployments_of(emulator.store, endpoint["name"]))
    }
    found: list[Share] = []
    for deployment, percent in endpoint["properties"]["traffic"].items():
        if percent:
            start = found[-1].start + found[-1].percent if found else 0
            found.append(Share(deployment, percent, start, colours.get(deployment, 0)))
    return tuple(found)


def _card(
    emulator: Emulator, manager: DeploymentManager, endpoint: Document, document: Document, colour: int
) -> DeploymentCard:
    name, rules = document["name"], endpoint["properties"]
    target = manager.target(endpoint["name"], name)
    return DeploymentCard(
        document=document,
        settings=settings_of(document),
        colour=colour,
        traffic=rules["traffic"].get(name.lower(), 0),
        mirror=rules["mirrorTraffic"].get(name.lower(), 0),
        model=document["properties"]["model"],
        model_id=workspace_model(document["properties"]["model"]),
        requests=_requests(manager, endpoint["name"], name),
        pending=target.gate.pending if target else None,
        logs=tuple(
            (container, plain(manager.logs(endpoint["name"], name, container, _LOG_LINES)))
            for container in (INFERENCE_SERVER, STORAGE_INITIALIZER)
        ),
    )


def _requests(manager: DeploymentManager, endpoint: str, deployment: str) -> Requests:
    counts = manager.tally.of(endpoint).get(deployment.lower(), {})
    failures: dict[str, int] = {}
    for by_status in counts.values():
        for status, count in by_status.items():
            if status != "200":
                failures[status] = failures.get(status, 0) + count
    totals = {way: sum(counts.get(way.value, {}).values()) for way in Way}
    return Requests(totals[Way.LIVE], totals[Way.NAMED], totals[Way.MIRRORED], tuple(sorted(failures.items())))
