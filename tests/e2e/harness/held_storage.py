"""Another address of a storage account, at which requests are held as the emulator's faults hold those to it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.azurite import Azurite

When = Literal["before", "after"]

_OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Hold:
    """Keeps the first request of that method whose path the pattern is found in; the next ones go on.

    Kept `before`, it has not reached the account; kept `after`, it was processed, and its answer is not out.
    """

    method: str
    pattern: str
    when: When
    _met: threading.Event = field(default_factory=threading.Event)
    _dropped: threading.Event = field(default_factory=threading.Event)

    def is_held(self) -> bool:
        """Whether a request is kept, and has been processed if it is to be."""
        return self._met.is_set() and not self._dropped.is_set()

    def drop(self) -> None:
        """The kept request ends without an answer."""
        self._dropped.set()

    def keep(self) -> None:
        """The request of whoever calls is kept until it is dropped."""
        self._met.set()
        self._dropped.wait()


@dataclass
class HeldStorage:
    """The account by its other address, where requests can be held."""

    account: Azurite
    _holds: list[Hold] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, method: str, pattern: str, when: When) -> Hold:
        """From now on the next such request is held."""
        hold = Hold(method, pattern, when)
        self._holds.append(hold)
        return hold

    def taken(self, method: str, path: str) -> Hold | None:
        """What is to keep the request, if anything is; it takes no other one."""
        with self._lock:
            found = next((h for h in self._holds if h.method == method and re.search(h.pattern, path)), None)
            if found is not None:
                self._holds.remove(found)
        return found


@contextmanager
def held_storage(azurite: Azurite) -> Iterator[HeldStorage]:
    """The account has a second address on loopback inside the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    # What is signed is the path, and not the host.
    storage = HeldStorage(replace(azurite, url=f"http://127.0.0.1:{server.server_port}"))
    server.storage, server.behind = storage, urlsplit(azurite.url).netloc  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield storage
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hold = server.storage.taken(self.command, self.path)
        if hold and hold.when == "before":
            hold.keep()
            self.close_connection = True
            return
        behind = HTTPConnection(server.behind, timeout=60)
        try:
            behind.request(self.command, self.path, body, dict(self.headers.items()))
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        if hold:
            hold.keep()
            self.close_connection = True
            return
        self._answer(answer, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def _answer(self, answer: HTTPResponse, content: bytes) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_HOP:
                self.send_header(name, value)
        # Of an answer to HEAD it is the length of what GET would have brought.
        is_of_head = self.command == "HEAD"
        self.send_header("Content-Length", answer.getheader("Content-Length", "0") if is_of_head else str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the account has a log of its own."""
