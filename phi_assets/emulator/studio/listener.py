"""Studio's own listener, in the event loop of the emulator's server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.serving.dispatch import Front
from phi_assets.emulator.studio import routes as studio
from phi_assets.emulator.studio.guard import Guard
from phi_assets.emulator.wire.listening import Server

_GRACE_SECONDS = 1


class _Server(Server):
    """Leaves the signals of the process to the emulator's own server, which stops this one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def create_studio(parts: Parts) -> Starlette:
    """The pages. They lie outside of the emulator's planes: no fault, limit or journal is concerned with them."""
    app = Starlette(routes=studio.routes, middleware=[Middleware(Guard)], exception_handlers=studio.EXCEPTION_HANDLERS)
    app.state.emulator = parts.emulator
    app.state.parts = parts
    app.state.front = Front(parts.emulator, lambda: parts.deployments)
    return app


@asynccontextmanager
async def serving(parts: Parts, listener: socket.socket) -> AsyncIterator[None]:
    """Studio answers at `listener` as long as the context lasts.

    Plain HTTP, on purpose. What is said stays on this machine, and a browser trusts 127.0.0.1 as it trusts HTTPS; with
    HTTPS it would warn of the emulator's own authority at every link, and people would learn to click warnings away.
    """
    config = uvicorn.Config(
        create_studio(parts),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.leave()
        await task
