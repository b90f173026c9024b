"""Connections that are closed while other threads read from them: nothing that is opened afterwards is touched."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ScoringFailed
from phi_assets.azureml.scoring.auth import EndpointCredential, Secret
from phi_assets.azureml.scoring.client import ScoringClient
from phi_assets.azureml.scoring.shared_http import ClientClosed, SharedClient
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml.training.interrupts import interrupted

HEAD = b"SQLite format 3\0" * 16
PATH = "/endpoints/nobody/score"


@pytest.fixture
def shared(workspace: Workspace) -> Iterator[SharedClient]:
    client = SharedClient(httpx.Client(verify=workspace.tls_context(), trust_env=False, timeout=60))
    yield client
    client.close()


@pytest.fixture
def held(control: Control) -> str:
    """The next request is received and not answered."""
    return control.add_fault(action="hold", when="before", method="POST", path=PATH, count=1)


def ask(client: SharedClient, base_url: str) -> httpx.Response:
    with client.use():
        return client.post(base_url + PATH, json={}, headers={})


def wait_until_reading(control: Control, held: str) -> None:
    control.wait_until_held(held)
    time.sleep(0.3)  # from the end of writing to the wait for the answer


def open_files(folder: Path, count: int) -> list[int]:
    """Descriptors of files with a well-known head, for reading and writing, the lowest numbers that are free."""
    paths = [folder / f"{number}.db" for number in range(count)]
    for path in paths:
        path.write_bytes(HEAD)
    return [os.open(path, os.O_RDWR) for path in paths]


def test_what_is_opened_after_closing_is_not_written_to(
    shared: SharedClient,
    held: str,
    control: Control,
    emulator: Connection,
    background: ThreadPoolExecutor,
    tmp_path: Path,
) -> None:
    asking = background.submit(ask, shared, emulator.base_url)
    wait_until_reading(control, held)
    shared.close()
    files = open_files(tmp_path, 8)
    try:
        control.release(held)
        assert isinstance(asking.exception(20), httpx.RequestError)
        assert [os.pread(file, len(HEAD), 0) for file in files] == [HEAD] * 8
    finally:
        for file in files:
            os.close(file)


def test_closing_ends_what_is_waited_for(
    shared: SharedClient, held: str, control: Control, emulator: Connection, background: ThreadPoolExecutor
) -> None:
    asking = background.submit(ask, shared, emulator.base_url)
    wait_until_reading(control, held)
    shared.close()
    assert isinstance(asking.exception(20), httpx.RequestError)
    with pytest.raises(ClientClosed):
        ask(shared, emulator.base_url)


def test_closing_waits_for_a_connection_that_is_being_made(background: ThreadPoolExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = SharedClient(httpx.Client(trust_env=False, timeout=1))
        asking = background.submit(ask, client, f"https://127.0.0.1:{silent.getsockname()[1]}")
        connection, _ = silent.accept()
        with connection:
            client.close()
            assert isinstance(asking.exception(1), httpx.RequestError)


def test_a_thread_that_was_thrown_out_of_its_request_can_close(shared: SharedClient) -> None:
    shared.use().__enter__()
    shared.close()
    shared.close()


def test_an_interrupted_scoring_leaves_no_request_behind(
    shared: SharedClient, held: str, control: Control, emulator: Connection
) -> None:
    credential = EndpointCredential(lambda: Secret("the-key"))
    question = [{"role": "user", "content": "hello"}]
    with (
        interrupted(lambda: control.wait_until_held(held)),
        ScoringClient(emulator.base_url + PATH, credential, shared) as client,
    ):
        client.ask_each([question] * 3, {}, concurrency=1)
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("scoring")]:
        thread.join(20)
        assert not thread.is_alive()
    with pytest.raises(ScoringFailed, match="its client is closed"):
        client.ask([question], {})
