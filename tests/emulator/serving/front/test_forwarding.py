"""Connections to the processes of deployments: those that have gone are closed, whoever finds that out."""

import asyncio
from pathlib import Path
from typing import Any

from phi_assets.emulator.serving.front.forwarding import Forwarder


class Session:
    """One whose end takes a moment, as on a real socket."""

    closed = 0

    async def close(self) -> None:
        await asyncio.sleep(0.01)
        self.closed += 1


def test_two_requests_that_find_the_same_process_gone_close_its_connections_once(tmp_path: Path) -> None:
    async def ask() -> list[Any]:
        forwarder = Forwarder()
        gone = {str(tmp_path / f"gone-{number}"): Session() for number in range(2)}
        forwarder._sessions.update(gone)  # type: ignore[arg-type]
        sockets = [tmp_path / "one", tmp_path / "other"]
        for socket in sockets:
            socket.touch()
        await asyncio.gather(*(forwarder._session(str(socket)) for socket in sockets))
        assert set(forwarder._sessions) == {str(socket) for socket in sockets}
        for session in forwarder._sessions.values():
            await session.close()
        return [session.closed for session in gone.values()]

    assert asyncio.run(ask()) == [1, 1]
