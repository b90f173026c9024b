"""How many requests are being processed, so that somebody can have the emulator for himself."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

logger = logging.getLogger(__name__)


class Occupancy:
    """Lets requests in and counts them; for use in the server's event loop only."""

    def __init__(self) -> None:
        self._inside = 0
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def inside(self) -> AsyncIterator[None]:
        """Waits until nobody is alone any more; the request counts as long as the context lasts."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def alone(self, patience: float) -> AsyncIterator[None]:
        """No request enters while the context lasts, and those that were inside have left.

        After `patience` seconds it begins although some have not, which is written into the log.
        """
        async with self._alone:
            self._open.clear()
            try:
                try:
                    await asyncio.wait_for(self._empty.wait(), patience)
                except TimeoutError:
                    logger.warning("%d requests did not end within %g s", self._inside, patience)
                yield
            finally:
                self._open.set()
