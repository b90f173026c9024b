"""Object stores on loopback: S3 as `moto` has it, Google Cloud Storage as `gcp-storage-emulator` has it."""

import logging
import os
import pkgutil
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

_BUCKET = "bucket"


class _Tap(socketserver.ThreadingTCPServer):
    """Passes on what is said between clients and a server, and counts what the server sends."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = port
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        tap = cast("_Tap", self.server)

        def count(piece: bytes) -> None:
            tap.sent += len(piece)

        with closing(socket.create_connection(("127.0.0.1", tap.behind))) as behind:
            answers = threading.Thread(target=self._pass, args=(behind, self.request, count), daemon=True)
            answers.start()
            self._pass(self.request, behind, lambda _: None)
            answers.join()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, seen: Callable[[bytes], None]) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                seen(piece)
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@dataclass(frozen=True)
class ObjectStore:
    """A running store with an empty bucket."""

    url: str
    """Of the bucket."""
    tap: _Tap
    unfinished: Callable[[], list[str]]
    """Names of objects whose upload has begun and has neither ended nor been given up."""

    @property
    def sent(self) -> int:
        """Bytes that it has sent since the last time that this was asked, headers and all."""
        sent, self.tap.sent = self.tap.sent, 0
        return sent


@contextmanager
def running(protocol: str) -> Iterator[ObjectStore]:
    """A store that is gone after the block, which every process finds that has its environment.

    The test is skipped where the libraries are not installed, and fails there if the variable `CI` is set.
    """
    with _BEHIND[protocol]() as (port, unfinished), _Tap(port) as tap, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=tap.serve_forever, daemon=True).start()
        for name, value in _environment(protocol, tap.url).items():
            patch.setenv(name, value)
        files = _library({"s3": "s3fs.S3FileSystem", "gs": "gcsfs.GCSFileSystem"}[protocol])
        # Instances remember where they are connected to.
        files.clear_instance_cache()
        files().mkdir(_BUCKET)
        yield ObjectStore(f"{protocol}://{_BUCKET}", tap, unfinished)
        files.clear_instance_cache()
        tap.shutdown()


def _library(name: str) -> Any:
    try:
        return pkgutil.resolve_name(name)
    except ImportError as error:
        reason = f"{error}: install the extra dev"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def _environment(protocol: str, url: str) -> dict[str, str]:
    if protocol == "gs":
        return {"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "secret-of-nobody",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
    }


@contextmanager
def _moto() -> Iterator[tuple[int, Callable[[], list[str]]]]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = _library("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]

    def unfinished() -> list[str]:
        account = _library("moto.core").DEFAULT_ACCOUNT_ID
        bucket = _library("moto.s3").s3_backends[account]["aws"].buckets[_BUCKET]
        return [upload.key_name for upload in bucket.multiparts.values()]

    try:
        yield port, unfinished
    finally:
        # It keeps all it has in variables of the process.
        httpx.post(f"http://127.0.0.1:{port}/moto-api/reset").raise_for_status()
        server.stop()


@contextmanager
def _gcs() -> Iterator[tuple[int, Callable[[], list[str]]]]:
    emulator = _library("gcp_storage_emulator.server")

    def give_up(request: Any, response: Any, storage: Any) -> None:
        storage.delete_resumable_file_obj(request.query["upload_id"][0])
        response.status = SimpleNamespace(value=499, phrase="Client Closed Request")

    # It does not know this request, which ends an upload:
    # https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload
    for pattern, handlers in emulator.HANDLERS:
        if emulator.settings.UPLOAD_API_ENDPOINT in pattern:
            handlers[emulator.DELETE] = give_up
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True)
    server.start()
    try:
        yield port, lambda: [str(upload["name"]) for upload in server._storage.resumable.values()]
    finally:
        server.stop()


_BEHIND = {"s3": _moto, "gs": _gcs}
