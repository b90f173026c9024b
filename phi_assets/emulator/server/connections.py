"""One connection: closed on whoever keeps it without a request, and by an application that does not want to answer."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from phi_assets.emulator.server.fault_injection import ABORT

LARGEST_HEAD = 64 << 10
"""Bytes of a request's first line and headers."""

PATIENCE_SECONDS = 75.0
"""How long a client may say nothing in the middle of a request, and take for the head of one."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n"
    b"x-ms-response-type: error\r\n\r\n"
)


class LimitedProtocol(AutoHTTPProtocol):  # pyright: ignore[reportGeneralTypeIssues, reportUntypedBaseClass]
    """Uvicorn's protocol, which has no limits of its own for clients that send too much, too slowly or nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore
        super().connection_made(transport)
        app: ASGIApp = self.app  # pyright: ignore
        self._heard = self._head_began = self.loop.time()  # pyright: ignore
        # Uvicorn's protocol without httptools has a limit of its own, and no such callbacks.
        self._is_in_head, self._head_bytes, self._header_bytes = hasattr(super(), "on_message_begin"), 0, 0
        self._watch: asyncio.TimerHandle | None = None
        self._look()

        async def abortable(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[ABORT] = transport.abort
            await app(scope, receive, send)

        self.app = abortable

    def data_received(self, data: bytes) -> None:
        """Refuses a head that has no end; of one that has, `on_header` counts."""
        self._heard = self.loop.time()  # pyright: ignore
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD and not self.transport.is_closing():  # pyright: ignore
                self.transport.write(_TOO_LARGE)  # pyright: ignore
                self.transport.close()  # pyright: ignore

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()  # pyright: ignore
        self._head_bytes = self._header_bytes = 0
        self._is_in_head, self._head_began = True, self.loop.time()  # pyright: ignore

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Uvicorn answers 400 to the exception of one that is too many."""
        super().on_header(name, value)  # pyright: ignore
        self._header_bytes += len(name) + len(value) + len(": \r\n")
        if self._header_bytes > LARGEST_HEAD:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        """The application has got the request; its body may follow."""
        self._is_in_head = False
        super().on_headers_complete()  # pyright: ignore

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is watched any more."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        now, cycle = self.loop.time(), self.cycle  # pyright: ignore
        in_body = cycle is not None and cycle.more_body and not cycle.response_complete and not self.flow.read_paused  # pyright: ignore
        late = (in_body and now - self._heard > PATIENCE_SECONDS) or (
            self._is_in_head and now - self._head_began > PATIENCE_SECONDS
        )
        if late and not self.transport.is_closing():  # pyright: ignore
            self.transport.abort()  # pyright: ignore
            return
        self._watch = self.loop.call_later(PATIENCE_SECONDS / 5, self._look)  # pyright: ignore
