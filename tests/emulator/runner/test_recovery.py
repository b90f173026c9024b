"""What becomes of running jobs when the emulator is stopped or dies."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from phi_assets.emulator import process
from tests.emulator import testing_registry
from tests.emulator.jobs import FILE, connected, until
from tests.emulator.testing_registry import COPY, WAIT, data, literal, pipeline

JOB = pipeline(wait={"componentId": WAIT, "inputs": {"stubborn": literal("true")}})
SHORT = pipeline(copy={"componentId": COPY, "inputs": {"source": data(FILE)}})


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    testing_registry.install(tmp_path)
    yield tmp_path
    process.stop(tmp_path)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start_job(emulator: process.Connection) -> list[int]:
    """Starts a job that waits; the process ids of its step."""
    with connected(emulator) as jobs:
        jobs.submitted("lost", JOB)
        step = jobs.running_step("lost")
        return [int(pid) for pid in re.findall(r"\d+", jobs.log(step["runId"]).split("pids", 1)[1])[:2]]


def test_after_a_crash_the_job_is_failed_and_its_processes_are_ended(directory: Path) -> None:
    """One that waits for its nodes, though, has lost nothing, and waits on."""
    emulator = process.ensure_running(directory)
    pids = start_job(emulator)
    with connected(emulator) as jobs:
        scale = {"minNodeCount": 0, "maxNodeCount": 0}
        wanted = {"vmSize": "Standard_NC24ads_A100_v4", "scaleSettings": scale}
        cluster = {"properties": {"computeType": "AmlCompute", "properties": wanted}}
        jobs.client.put("/computes/line", json=cluster).raise_for_status()
        jobs.submitted("waits", SHORT | {"computeId": "line"})
        until(lambda: [child["status"] for child in jobs.children("waits")] == ["Queued"], "it to queue")
    os.kill(emulator.pid, signal.SIGKILL)
    until(lambda: not alive(emulator.pid), "the emulator to die")
    assert all(alive(pid) for pid in pids)
    with connected(process.ensure_running(directory)) as jobs:
        assert jobs.status("lost") == "Failed"
        assert "ended unexpectedly" in jobs.run("lost")["error"]["error"]["message"]
        assert [child["status"] for child in jobs.children("lost")] == ["Failed"]
        until(lambda: not any(alive(pid) for pid in pids), "the step to end")
        # The name is taken, the workspace works.
        assert jobs.put("lost", JOB).status_code == 200
        assert jobs.ended(jobs.submitted("next", SHORT)) == "Completed"
        assert [child["status"] for child in jobs.children("waits")] == ["Queued"]
        more = {"properties": {"properties": {"scaleSettings": {"maxNodeCount": 1}}}}
        jobs.client.patch("/computes/line", json=more).raise_for_status()
        assert jobs.ended("waits") == "Completed"


def test_a_stopped_emulator_takes_its_steps_along(directory: Path) -> None:
    emulator = process.ensure_running(directory)
    pids = start_job(emulator)
    assert process.stop(directory)
    assert not any(alive(pid) for pid in pids)
    with connected(process.ensure_running(directory)) as jobs:
        assert jobs.status("lost") == "Failed"
        assert "stopped" in jobs.run("lost")["error"]["error"]["message"]


def test_a_requested_cancellation_is_kept_over_a_crash(directory: Path) -> None:
    emulator = process.ensure_running(directory)
    start_job(emulator)
    with connected(emulator) as jobs:
        cancellation = jobs.client.post("/jobs/lost/cancel").headers["Location"]
        assert jobs.status("lost") == "CancelRequested"  # its stubborn step keeps it from being over
    os.kill(emulator.pid, signal.SIGKILL)
    until(lambda: not alive(emulator.pid), "the emulator to die")
    with connected(process.ensure_running(directory)) as jobs:
        assert jobs.status("lost") == "Canceled"
        assert jobs.client.get(cancellation).status_code == 200


def test_a_requested_cancellation_is_kept_over_a_stop(directory: Path) -> None:
    emulator = process.ensure_running(directory)
    start_job(emulator)
    with connected(emulator) as jobs:
        jobs.client.post("/jobs/lost/cancel").raise_for_status()
    assert process.stop(directory)
    with connected(process.ensure_running(directory)) as jobs:
        assert jobs.status("lost") == "Canceled"
