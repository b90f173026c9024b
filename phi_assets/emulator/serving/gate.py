"""Which deployment answers a request, and whether it may: routing by weight, the limit of pending requests."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from phi_assets.emulator.errors import ServiceError
from phi_assets.emulator.serving.rules import DeploymentSettings


def choose(traffic: Mapping[str, int], generator: random.Random) -> str | None:
    """A deployment name, drawn by the percentages; None where no deployment has any traffic."""
    names = [name for name, percent in traffic.items() if percent > 0]
    if not names:
        return None
    return generator.choices(names, weights=[traffic[name] for name in names])[0]


class Gate:
    """Lets `concurrency` requests at a time through to a deployment, and up to `max_pending` wait or be underway.

    To be used in the server's event loop only.
    """

    def __init__(self, settings: DeploymentSettings):
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.concurrency)
        self.pending = 0

    @asynccontextmanager
    async def passage(self, deployment: str) -> AsyncIterator[None]:
        """Waits for a turn.

        Raises:
            ServiceError: 429 if too many requests are pending already
                (https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes).
        """
        settings = self._settings
        if self.pending >= settings.max_pending:
            raise ServiceError(
                429,
                "TooManyRequests",
                f"The deployment '{deployment}' has {self.pending} pending requests and takes at most "
                f"{settings.max_pending}: 2 * {settings.max_concurrent} (max_concurrent_requests_per_instance) * "
                f"{settings.instances} (instance_count). Send fewer at a time, or raise one of the two.",
            )
        self.pending += 1
        try:
            async with self._turns:
                yield
        finally:
            self.pending -= 1
