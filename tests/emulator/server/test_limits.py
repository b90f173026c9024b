"""Clients that send too much, too slowly or nothing do not keep the server from the others."""

import asyncio
import socket
import ssl

import pytest

from phi_assets.emulator.process import Connection
from phi_assets.emulator.server import connections
from tests.emulator.http import arm_client, raw_client


def exchange(emulator: Connection, sent: bytes) -> bytes:
    """What the server says to these bytes until it closes the connection."""
    trust = ssl.create_default_context(cafile=str(emulator.ca_bundle))
    plain = socket.create_connection(("127.0.0.1", emulator.port), timeout=10)
    received = b""
    with trust.wrap_socket(plain, server_hostname="localhost") as connection:
        try:
            connection.sendall(sent)
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionError, ssl.SSLError):
            return received
    return received


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * (connections.LARGEST_HEAD + 1000),
        b"GET /" + b"x" * (connections.LARGEST_HEAD + 1000),
        b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
        b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    ],
    ids=["endless header", "endless path", "endless headers", "too many headers"],
)
def test_a_head_has_an_end(emulator: Connection, head: bytes) -> None:
    answer = exchange(emulator, head)
    assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")), answer[:100]
    with raw_client(emulator) as client:
        assert client.get("/healthz").status_code == 200


def test_a_large_head_is_no_long_head(emulator: Connection) -> None:
    with raw_client(emulator) as client:
        assert client.get("/healthz", headers={"a": "x" * 30_000}).status_code == 200


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_beyond_the_limit_is_refused(emulator: Connection, announced: bool) -> None:
    large = b'{"properties": "' + b"x" * (5 << 20) + b'"}'
    with arm_client(emulator) as client:
        answer = client.put("/data/large/versions/1", content=large if announced else iter([large]))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "RequestEntityTooLarge")
        assert client.get("/data/large/versions/1").status_code == 404


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /healthz HTTP/1.1\r\nHost", b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"],
    ids=["nothing", "half a head", "half a body"],
)
def test_a_connection_without_a_request_ends(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.2)
    assert asyncio.run(_said_to(sent, pause=5)) == b""


def test_a_request_that_is_worked_on_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.2)
    said = asyncio.run(_said_to(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", pause=5))
    assert said.startswith(b"HTTP/1.1 200")


async def _said_to(sent: bytes, pause: float) -> bytes:
    """What a server of one application, which needs a second for its answer, says to these bytes."""
    import uvicorn

    async def app(scope, receive, send) -> None:
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            continue
        if message["type"] == "http.disconnect":
            return
        await asyncio.sleep(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=connections.LimitedProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve([listener]))
    try:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(sent)
        try:
            return await asyncio.wait_for(reader.read(), pause)
        except ConnectionError:
            return b""
        finally:
            writer.close()
    finally:
        server.should_exit = True
        await serving
