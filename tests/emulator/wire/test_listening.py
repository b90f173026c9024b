"""A server that does not look whether it is to end, and ends all the same."""

import asyncio
import os
import signal

import pytest
import uvicorn
from starlette.applications import Starlette

from phi_assets.emulator.wire import listening
from phi_assets.emulator.wire.listening import Server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """One that does not look at anything for an hour."""
    monkeypatch.setattr(listening, "_TICK_SECONDS", 3600)
    return Server(uvicorn.Config(Starlette(), host="127.0.0.1", port=0, lifespan="off", log_config=None))


async def started(server: Server) -> "asyncio.Task[None]":
    task = asyncio.create_task(server._serve())
    while server._loop is None:
        await asyncio.sleep(0.01)
    return task


def test_it_ends_when_it_is_to_leave(server: Server) -> None:
    async def leave() -> None:
        task = await started(server)
        server.leave()
        await asyncio.wait_for(task, 60)

    asyncio.run(leave())
    assert server.started


def test_it_ends_at_a_signal(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "raise_signal", lambda _: None)  # uvicorn passes it on to whoever started the server

    async def kill() -> None:
        with server.capture_signals():
            task = await started(server)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 60)

    asyncio.run(kill())
    assert server.started


def test_it_ends_when_it_was_to_leave_before_it_had_begun(server: Server) -> None:
    server.leave()
    asyncio.run(asyncio.wait_for(server._serve(), 60))
