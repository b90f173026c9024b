"""Jobs and operations for which there is no room for a while: they go on, or end, as soon as there is."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from phi_assets.emulator.routes import computes
from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.runner import lifecycle
from phi_assets.emulator.runner.records import Records
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.compute_documents import new_cluster, wanted_cluster
from tests.emulator.jobs import until
from tests.emulator.store.test_no_room import LARGE, full
from tests.emulator.testing_registry import COPY, WAIT, data, literal, pipeline

FILE = "azureml://datastores/workspaceblobstore/paths/file.txt"
COPYING = pipeline(copy={"componentId": COPY, "inputs": {"source": data(FILE)}})
WAITING = pipeline(wait={"componentId": WAIT, "inputs": {"seconds": literal("60")}})


def submit(parts: Parts, name: str, properties: dict) -> None:
    kept = {"outputs": {}, "inputs": {}, **properties}
    parts.emulator.store.create("job", name, {"name": name, "properties": kept, "status": "NotStarted"})
    Records(parts.emulator).create_root(name, kept)
    parts.runner.submit(name)


def status(parts: Parts, name: str) -> str:
    return (parts.emulator.store.get("run", name) or {})["status"]


@contextmanager
def no_room(parts: Parts) -> Iterator[None]:
    """Nothing more fits in, small documents neither."""
    store = parts.emulator.store
    with full(store):
        for number in range(1000):
            try:
                store.put("filler", str(number), LARGE if number < 3 else {})
            except ServiceError:
                if number > 3:
                    break
        yield


def test_a_job_goes_on_when_there_is_room(parts: Parts) -> None:
    submit(parts, "goes-on", pipeline(wait={"componentId": WAIT, "inputs": {"seconds": literal("0.3")}}))
    until(lambda: any(run["process"] for run in Records(parts.emulator).family("goes-on")), "the step to run")
    with no_room(parts):
        time.sleep(0.6)  # the step ends meanwhile, and nothing may be made of it
        assert status(parts, "goes-on") == "Running"
    until(lambda: status(parts, "goes-on") == "Completed", "the job to complete")


def test_a_step_that_is_cancelled_without_room_ends_at_once_and_the_job_as_soon_as_there_is(parts: Parts) -> None:
    submit(parts, "cancelled", WAITING)
    records = Records(parts.emulator)

    def step() -> dict | None:
        return next((run for run in records.family("cancelled") if run["process"]), None)

    until(lambda: step() is not None, "the step to run")
    with no_room(parts):
        with pytest.raises(ServiceError, match="full"):
            parts.runner.cancel("cancelled")
        assert status(parts, "cancelled") == "Running"
    parts.runner.cancel("cancelled")
    until(lambda: status(parts, "cancelled") == "Canceled", "the job to end")


def test_an_operation_is_done_when_there_is_room(parts: Parts) -> None:
    emulator = parts.emulator
    body = {"properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC6s_v3"}}}
    cluster = new_cluster(emulator, "late", body, wanted_cluster(body)) | {"identity": None}
    emulator.store.create("compute", "late", cluster)
    failures = iter([OSError(28, "No space left on device")])

    def work() -> None:
        for failure in failures:
            raise failure
        computes._settle(emulator, "late")

    operation = operations.start(emulator, operations.COMPUTE, "/late", work)
    until(lambda: (emulator.store.get("operation", operation.id) or {})["status"] == "Succeeded", "it to succeed")
    assert (emulator.store.get("compute", "late") or {})["properties"]["provisioningState"] == "Succeeded"


def test_what_no_thread_can_be_had_for_is_done_all_the_same(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    submit(parts, "late", COPYING)
    operation = operations.start(parts.emulator, operations.COMPUTE, "/late", lambda: None)
    monkeypatch.undo()
    until(lambda: status(parts, "late") == "Completed", "the job to complete")
    until(lambda: (parts.emulator.store.get("operation", operation.id) or {})["status"] == "Succeeded", "its end")


def test_an_emulator_that_stops_without_room_leaves_the_job_to_the_next_start(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_JOIN_SECONDS", 5.0)
    submit(parts, "left", WAITING)
    until(lambda: any(run["process"] for run in Records(parts.emulator).family("left")), "the step to run")
    with no_room(parts):
        parts.emulator.stopping.set()
        parts.runner.shutdown()
    parts.emulator.stopping.clear()
    lifecycle.JobRunner(parts.emulator).recover()
    assert status(parts, "left") == "Failed"
