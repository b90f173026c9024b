"""Uris of assets, and long-running operations, inside the emulator without its server."""

import threading
import time
from pathlib import Path

import pytest

from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator, open_emulator
from phi_assets.emulator.workspace.locations import long_uri, resolve_uri

LONG = "azureml://subscriptions/{s}/resourcegroups/{g}/workspaces/{w}/datastores/{d}/paths/{p}"


@pytest.fixture
def emulator(tmp_path: Path) -> Emulator:
    return open_emulator(tmp_path / "emulator", "https://127.0.0.1:9443", time_scale=1000)


def place(emulator: Emulator, path: str, datastore: str = "workspaceblobstore") -> str:
    return LONG.format(
        s=emulator.subscription_id, g=emulator.resource_group, w=emulator.workspace_name, d=datastore, p=path
    )


def run(emulator: Emulator, status: str) -> None:
    uri = "azureml://datastores/workspaceblobstore/paths/azureml/job-1/trained_model/"
    outputs = {"trained_model": {"uri": uri, "type": "mlflow_model"}}
    emulator.store.put("run", "job-1", {"run_id": "job-1", "status": status, "outputs": outputs})


@pytest.mark.parametrize(
    "uri",
    [
        "azureml://jobs/job-1/outputs/trained_model",
        "azureml://jobs/job-1/outputs/trained_model/",
        "azureml://jobs/job-1/outputs/trained_model/paths/",
        "azureml://subscriptions/s/resourceGroups/g/workspaces/w/jobs/job-1/outputs/trained_model",
    ],
)
def test_the_output_of_a_completed_job(emulator: Emulator, uri: str):
    run(emulator, "Completed")
    resolved, job = resolve_uri(emulator, uri)
    assert (resolved.rstrip("/"), job) == (place(emulator, "azureml/job-1/trained_model"), "job-1")


def test_a_folder_within_an_output_and_a_runs_artifacts(emulator: Emulator):
    run(emulator, "Completed")
    inner, _ = resolve_uri(emulator, "azureml://jobs/job-1/outputs/trained_model/paths/data/model")
    assert inner == place(emulator, "azureml/job-1/trained_model/data/model")
    artifacts = place(emulator, "ExperimentRun/dcid.job-1/model", "workspaceartifactstore")
    assert resolve_uri(emulator, "azureml://jobs/job-1/outputs/artifacts/paths/model")[0] == artifacts
    assert resolve_uri(emulator, "runs:/job-1/model")[0] == artifacts


@pytest.mark.parametrize(
    ("status", "uri", "answer", "text"),
    [
        ("Running", "azureml://jobs/job-1/outputs/trained_model", 400, "status is Running"),
        ("Failed", "azureml://jobs/job-1/outputs/trained_model", 400, "status is Failed"),
        ("Completed", "azureml://jobs/job-1/outputs/other", 404, "it has: trained_model"),
        ("Completed", "azureml://jobs/job-2/outputs/trained_model", 404, "job-2"),
    ],
)
def test_outputs_that_cannot_be_used(emulator: Emulator, status: str, uri: str, answer: int, text: str):
    run(emulator, status)
    with pytest.raises(ServiceError, match=text) as caught:
        resolve_uri(emulator, uri)
    assert caught.value.status == answer


def test_blob_urls_of_the_workspace_become_datastore_uris(emulator: Emulator):
    url = emulator.blob_url("azureml-blobstore", "a b/c.txt")
    assert long_uri(emulator, url) == place(emulator, "a b/c.txt")
    for other in ("https://example.org/a", "azureml://registries/r/models/m/versions/1"):
        assert long_uri(emulator, other) == other


def ended(emulator: Emulator, operation: operations.Operation) -> dict:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        body = emulator.store.get("operation", operation.id) or {}
        if body.get("status") in {"Succeeded", "Failed"}:
            return body
        time.sleep(0.01)
    raise AssertionError("the operation did not end")


def test_an_operation_tells_how_its_work_ended(emulator: Emulator):
    go = threading.Event()

    def wait() -> None:
        assert go.wait(10)

    good = operations.start(emulator, "oe", "/good", wait)
    assert (emulator.store.get("operation", good.id) or {})["status"] == "Updating"
    assert "/mfeOperationsStatus/oe:" in good.status_url
    go.set()
    assert ended(emulator, good)["percentComplete"] == 100.0

    def refuse() -> None:
        raise user_error("no quota", "OutOfQuota")

    failed = ended(emulator, operations.start(emulator, "od", "/bad", refuse))
    assert (failed["status"], failed["error"]["code"], failed["error"]["message"]) == (
        "Failed",
        "UserError",
        "no quota",
    )


def test_a_defect_in_the_work_does_not_leave_the_client_waiting(emulator: Emulator, caplog: pytest.LogCaptureFixture):
    def crash() -> None:
        raise ZeroDivisionError("oops")

    failed = ended(emulator, operations.start(emulator, "oe", "/crash", crash))
    assert (failed["status"], failed["error"]["code"]) == ("Failed", "InternalServerError")
    assert "ZeroDivisionError: oops" in caplog.text


def test_what_a_stop_interrupts_is_settled_by_the_next_start(emulator: Emulator, tmp_path: Path):
    emulator.stopping.set()
    settled = operations.start(emulator, operations.COMPUTE, "/done", lambda: operations.pause(emulator, 9999))
    lost = operations.start(emulator, operations.COMPUTE, "/lost", lambda: operations.pause(emulator, 9999))
    for thread in threading.enumerate():
        if thread.name.startswith("operation "):
            thread.join(10)
    assert (emulator.store.get("operation", lost.id) or {})["status"] == "InProgress"
    again = open_emulator(tmp_path / "emulator", emulator.base_url)
    operations.settle(again, "/done")
    operations.recover(again)
    assert (again.store.get("operation", settled.id) or {})["status"] == "Succeeded"
    assert (again.store.get("operation", lost.id) or {})["error"]["code"] == "OperationCanceled"
