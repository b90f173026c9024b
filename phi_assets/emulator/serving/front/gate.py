"""Which deployment answers a request, and whether it may: routing by weight, the limit of pending requests."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from phi_assets.emulator.serving.rules import DeploymentSettings
from phi_assets.emulator.wire.errors import ServiceError


class Retired(Exception):
    """The deployment takes no more requests in this form: it was replaced or deleted a moment ago."""


def choose(traffic: Mapping[str, int], generator: random.Random) -> str | None:
    """A deployment name, drawn by the percentages; None where no deployment has any traffic."""
    names = [name for name, percent in traffic.items() if percent > 0]
    if not names:
        return None
    return generator.choices(names, weights=[traffic[name] for name in names])[0]


def choose_mirror(mirror_traffic: Mapping[str, int], generator: random.Random) -> str | None:
    """The deployment that gets a copy of a request, drawn by its percentage; None if this one is not copied."""
    for name, percent in mirror_traffic.items():
        if generator.random() * 100 < percent:
            return name
    return None


class Gate:
    """Lets `concurrency` requests at a time through to a deployment, and up to `max_pending` wait or be underway.

    Passages are for the server's event loop only; any thread may close the gate.
    """

    def __init__(self, settings: DeploymentSettings):
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.concurrency)
        self._lock = threading.Lock()
        self._closed = False
        self.pending = 0

    def close(self) -> None:
        """Nobody is let in from now on; `pending` counts those who still have to come out."""
        with self._lock:
            self._closed = True

    @asynccontextmanager
    async def passage(self, deployment: str) -> AsyncIterator[None]:
        """Waits for a turn.

        Raises:
            Retired: the gate is closed; nothing has happened to the request.
            ServiceError: 429 if too many requests are pending already
                (https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes).
        """
        self._enter(deployment)
        try:
            async with self._turns:
                yield
        finally:
            with self._lock:
                self.pending -= 1

    def _enter(self, deployment: str) -> None:
        settings = self._settings
        with self._lock:
            if self._closed:
                raise Retired
            if self.pending >= settings.max_pending:
                raise ServiceError(
                    429,
                    "TooManyRequests",
                    f"The deployment '{deployment}' has {self.pending} pending requests and takes at most "
                    f"{settings.max_pending}: 2 * {settings.max_concurrent} (max_concurrent_requests_per_instance) * "
                    f"{settings.instances} (instance_count). Send fewer at a time, or raise one of the two.",
                )
            self.pending += 1
