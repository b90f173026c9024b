"""A server that answers: uvicorn's, but for the ten looks a second at whether it is to end."""

import asyncio
from contextlib import suppress
from types import FrameType

import uvicorn

_TICK_SECONDS = 1
"""So often are the headers made anew that tell the date."""


class Server(uvicorn.Server):
    """Ends at once when it is told to, by a signal or by `leave`."""

    def __init__(self, config: uvicorn.Config):
        super().__init__(config)
        self._leaving = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def leave(self) -> None:
        """For use in its event loop."""
        self.should_exit = True
        self._leaving.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._leaving.set)

    async def main_loop(self) -> None:
        """Returns when it is to end."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), _TICK_SECONDS)
