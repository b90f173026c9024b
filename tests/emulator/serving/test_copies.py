"""An emulator that is started from a copy of a running one's folder leaves the original alone, and serves by itself."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from phi_assets.emulator import process
from tests.emulator import testing_registry
from tests.emulator.jobs import connected
from tests.emulator.serving.conftest import until
from tests.emulator.serving.test_recovery import Client, home
from tests.emulator.testing_registry import WAIT, literal, pipeline

__all__ = ["home"]

WAITING = pipeline(wait={"componentId": WAIT, "inputs": {"seconds": literal("60")}})


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "copy"
    process.stop(tmp_path / "copy")


def ask_on(client: Client, stop: threading.Event, seen: list[int]) -> None:
    while not stop.is_set():
        seen.append(client.score("under load").status_code)


@pytest.mark.slow
def test_the_original_serves_and_trains_on_while_its_copy_is_used_and_stopped(home: Path, copy: Path) -> None:
    testing_registry.install(home)
    original = Client(process.ensure_running(home))
    settings = {"location": "emulator", "properties": {"authMode": "Key"}}
    assert original.arm("PUT", "shop", settings).status_code == 201
    until(lambda: original.state("shop"), lambda state: state == "Succeeded")
    original.put_deployment("blue", "echo")
    until(lambda: original.state("shop/deployments/blue"), lambda state: state == "Succeeded")
    settings["properties"]["traffic"] = {"blue": 100}
    assert original.arm("PUT", "shop", settings).status_code == 201
    until(lambda: original.state("shop"), lambda state: state == "Succeeded")
    until(lambda: original.score("first").status_code, lambda status: status == 200)
    with connected(original.connection) as jobs:
        step = jobs.running_step(jobs.submitted("training", WAITING))
        pids = [int(pid) for pid in jobs.log(step["runId"]).split("pids", 1)[1].split()[:2]]

    stop, seen = threading.Event(), list[int]()
    load = threading.Thread(target=ask_on, args=(Client(original.connection), stop, seen))
    load.start()
    try:
        shutil.copytree(home, copy)
        assert process.status(copy) is None
        assert not process.stop(copy)
        second = Client(process.ensure_running(copy))
        assert second.connection.pid != original.connection.pid
        assert second.connection.port != original.connection.port
        until(lambda: second.score("copied").status_code, lambda status: status == 200)
        with connected(second.connection) as jobs:
            assert jobs.status("training") == "Failed"  # its step runs at the original only
        assert process.stop(copy)
        until(lambda: len(seen), lambda count: count > 20)
    finally:
        stop.set()
        load.join()
    assert set(seen) == {200}
    assert all(psutil.pid_exists(pid) for pid in pids)
    with connected(original.connection) as jobs:
        assert jobs.status("training") == "Running"
    assert process.status(home) == original.connection


@pytest.mark.slow
def test_a_folder_that_was_moved_serves_what_it_served(home: Path, copy: Path) -> None:
    first = Client(process.ensure_running(home))
    assert first.arm("PUT", "shop", {"location": "emulator", "properties": {"authMode": "Key"}}).status_code == 201
    until(lambda: first.state("shop"), lambda state: state == "Succeeded")
    first.put_deployment("blue", "echo")
    until(lambda: first.state("shop/deployments/blue"), lambda state: state == "Succeeded")
    assert process.stop(home)
    home.rename(copy)
    again = Client(process.ensure_running(copy))
    traffic = {"location": "emulator", "properties": {"authMode": "Key", "traffic": {"blue": 100}}}
    assert again.arm("PUT", "shop", traffic).status_code == 201
    until(lambda: again.score("moved").status_code, lambda status: status == 200)
    assert again.connection.port == first.connection.port
