"""A blob storage account on loopback: Azurite, Microsoft's own emulator of it, from the npm package `azurite`."""

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

# Before the tests' environment takes away what begins with PHI_.
_PROGRAM = os.environ.get("PHI_TEST_AZURITE") or shutil.which("azurite-blob") or ""
_IS_REQUIRED = bool(os.environ.get("CI"))

ACCOUNT = "devstoreaccount1"
# Everybody's: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_LISTENS = re.compile(r"listens on (?P<url>http://127\.0\.0\.1:\d+)")
_LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/1.1" (?P<status>\d+) (?P<bytes>\d+|-)')


@dataclass(frozen=True)
class Request:
    """A line of the account's own log."""

    method: str
    path: str
    status: int
    sent: int
    """Bytes of the answer."""


@dataclass(frozen=True)
class Azurite:
    """A running account."""

    url: str
    log: Path
    key: str = _KEY

    @property
    def connection_string(self) -> str:
        """For `AZURE_STORAGE_CONNECTION_STRING`."""
        address = f"DefaultEndpointsProtocol=http;BlobEndpoint={self.url}/{ACCOUNT}"
        return f"{address};AccountName={ACCOUNT};AccountKey={self.key};"

    def container(self, name: str) -> "ContainerClient":
        """A new container, or the one that is there."""
        from azure.storage.blob import ContainerClient

        client = ContainerClient.from_connection_string(self.connection_string, name)
        if not client.exists():
            client.create_container()
        return client

    def requests(self, since: int = 0) -> list[Request]:
        """What it was asked, without the first `since` requests."""
        # It writes a request down after its answer; one of ours is the last.
        last = f"/last-{secrets.token_hex(8)}"
        httpx.get(f"{self.url}{last}")
        wait_until(lambda: last in self.log.read_text(encoding="utf-8"))
        found = map(_LINE.search, self.log.read_text(encoding="utf-8").splitlines())
        lines = [line for line in found if line is not None and not line["path"].startswith("/last-")]
        return [
            Request(each["method"], each["path"], int(each["status"]), int(each["bytes"].replace("-", "0")))
            for each in lines[since:]
        ]


@contextmanager
def running() -> Iterator[Azurite]:
    """An account that is gone after the block; the test is skipped where the program is not installed."""
    if not _PROGRAM:
        reason = "azurite is not installed: npm install -g azurite"
        pytest.fail(reason) if _IS_REQUIRED else pytest.skip(reason)
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("wb") as log:
        options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--disableTelemetry", "--skipApiVersionCheck"]
        server = subprocess.Popen([_PROGRAM, "--location", name, *options], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Azurite(_address(server, Path(log.name)), Path(log.name))
        finally:
            server.terminate()
            server.wait(30)


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    wait_until(lambda: server.poll() is not None or _LISTENS.search(log.read_text(encoding="utf-8")) is not None)
    found = _LISTENS.search(log.read_text(encoding="utf-8"))
    assert found, f"azurite did not start: {log.read_text(encoding='utf-8')}"
    return found["url"]


def wait_until(is_so: Callable[[], bool]) -> None:
    """It is so after at most a minute."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "azurite takes too long"
        time.sleep(0.02)
