"""An HTTP client of several threads, any of which may close it."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakSet

import httpx


class ClientClosed(Exception):
    """The client was closed before the request began."""


class SharedClient:
    """An `httpx.Client` that can be closed while other threads wait for answers.

    `httpx.Client.close` alone frees the numbers of descriptors that other threads go on to read and write. The file
    that the process opens next gets such a number, and what TLS then says is written into it: a goodbye of 24 bytes
    into the head of a database of Dagster's, for one. <https://www.sqlite.org/howtocorrupt.html> (1.1)
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._changed = threading.Condition()
        self._is_closed = False
        self._users: set[int] = set()
        self._streams: WeakSet[Any] = WeakSet()

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """`close` waits for the end of the block; a thread is in one at a time.

        Raises:
            ClientClosed: it was closed before.
        """
        thread = threading.get_ident()
        with self._changed:
            if self._is_closed:
                raise ClientClosed
            self._users.add(thread)
        try:
            yield
        finally:
            with self._changed:
                self._users.discard(thread)
                self._changed.notify_all()

    def post(self, url: str, *, json: Any, headers: Mapping[str, str]) -> httpx.Response:
        """As `httpx.Client.post`; for use inside `use`.

        Raises:
            httpx.RequestError: also when the client is closed meanwhile.
        """
        return self._http.post(url, json=json, headers=headers, extensions={"trace": self._trace})

    def close(self) -> None:
        """Ends what other threads are waiting for, waits until they have left `use`, and closes the connections."""
        with self._changed:
            self._is_closed = True
            for stream in self._streams:
                _hang_up(stream)
            # An interrupt may have thrown this very thread out of a block before its end was noted.
            self._users.discard(threading.get_ident())
            self._changed.wait_for(lambda: not self._users)
        self._http.close()

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Notes each connection: <https://www.python-httpx.org/advanced/extensions/#trace>."""
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        stream = info["return_value"]
        with self._changed:
            self._streams.add(stream)
            if self._is_closed:
                _hang_up(stream)


def _hang_up(stream: Any) -> None:
    """Both directions end at once; the descriptor stays, for the thread that uses it to close."""
    connection = stream.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it has ended by itself
        # Not `SSLSocket.shutdown`: from then on the other thread would write without encryption.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
