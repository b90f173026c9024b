"""The front of all online endpoints: chooses who answers, sends copies to the mirror, and counts what came of both.

Traffic rules: https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from phi_assets.emulator.serving.documents import DEPLOYMENT, deployment_key, require_endpoint
from phi_assets.emulator.serving.front.forwarding import Forwarder, unavailable
from phi_assets.emulator.serving.front.gate import Retired, choose, choose_mirror
from phi_assets.emulator.serving.front.tally import Way
from phi_assets.emulator.serving.front.target import Target
from phi_assets.emulator.serving.manager import DeploymentManager
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator

DEPLOYMENT_HEADER = "azureml-model-deployment"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """An answer, and the deployment that gave it."""

    deployment: str
    content: bytes


class Front:
    """For use in one event loop."""

    def __init__(self, emulator: Emulator, manager: Callable[[], DeploymentManager]):
        """`manager` gives the one that has the deployments now; a reset of the emulator replaces it."""
        self._emulator = emulator
        self._manager = manager
        self._forwarder = Forwarder()
        self._copies: set[asyncio.Task[None]] = set()

    async def score(self, endpoint: str, named: str | None, body: bytes) -> Scored:
        """The answer of the deployment that the request names, or else of one that is drawn by the endpoint's traffic.

        A request for which a deployment was drawn is answered although that is replaced or deleted at this moment.

        Raises:
            ServiceError: 404 if there is nobody to answer, or as `Forwarder.score`.
        """

        def find() -> Target:
            return self._named(endpoint, named) if named else self._drawn(endpoint)

        target = find()
        if not named:
            self._mirror(endpoint, body)
        way = Way.NAMED if named else Way.LIVE
        while True:
            try:
                return Scored(target.deployment, await self._counted(endpoint, target, way, body))
            except Retired:
                target = find()  # whoever closes a gate has put another one, or none, into its place before

    def _drawn(self, endpoint: str) -> Target:
        manager = self._manager()
        while True:
            name = choose(self._rules(endpoint)["traffic"], manager.generator)
            if name is None:
                raise ServiceError(
                    404,
                    "NoDeploymentWithTraffic",
                    f"No deployment of the endpoint '{endpoint}' has positive traffic. Set the endpoint's traffic, or "
                    f"name a deployment in the header {DEPLOYMENT_HEADER}.",
                )
            target = manager.target(endpoint, name)
            if target is not None:
                return target
            # The traffic may have moved on since it was read; if it has not, nobody is there.
            if self._rules(endpoint)["traffic"].get(name):
                return self._named(endpoint, name)

    def _named(self, endpoint: str, name: str) -> Target:
        target = self._manager().target(endpoint, name)
        if target is not None:
            return target
        document = self._emulator.store.get(DEPLOYMENT, deployment_key(endpoint, name))
        if document is None:
            raise ServiceError(404, "DeploymentNotFound", f"The endpoint '{endpoint}' has no deployment '{name}'.")
        if document["state"] == "Succeeded":
            raise unavailable(name)
        raise ServiceError(
            404,
            "DeploymentNotReady",
            f"The deployment '{name}' of the endpoint '{endpoint}' is in {document['state']} provisioning state and "
            "does not serve.",
        )

    def _rules(self, endpoint: str) -> dict[str, dict[str, int]]:
        return require_endpoint(self._emulator.store, endpoint)["properties"]

    def _mirror(self, endpoint: str, body: bytes) -> None:
        """Sends a copy if this request is one of the share that is mirrored; nobody waits for it."""
        manager = self._manager()
        name = choose_mirror(self._rules(endpoint)["mirrorTraffic"], manager.generator)
        target = manager.target(endpoint, name) if name else None
        if target is not None:
            copy = asyncio.create_task(self._copy(endpoint, target, body))
            self._copies.add(copy)
            copy.add_done_callback(self._copies.discard)

    async def _copy(self, endpoint: str, target: Target, body: bytes) -> None:
        """What the mirror answers concerns nobody: neither the caller nor his request."""
        try:
            await self._counted(endpoint, target, Way.MIRRORED, body)
        except Retired:
            return
        except ServiceError as error:
            logger.info("copy for %s/%s: %s", endpoint, target.deployment, error)
        except Exception:
            logger.exception("copy for %s/%s", endpoint, target.deployment)

    async def _counted(self, endpoint: str, target: Target, way: Way, body: bytes) -> bytes:
        tally = self._manager().tally
        try:
            content = await self._forwarder.score(target, body)
        except ServiceError as error:
            tally.add(endpoint, target.deployment, way, error.status)
            raise
        tally.add(endpoint, target.deployment, way, 200)
        return content
