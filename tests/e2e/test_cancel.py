"""How a run ends before its time: by a person in Dagster or in Azure ML, by a signal, by an outage."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from phi_assets.azureml.connection.inventory import endpoint_state
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.emulator import process
from tests.e2e.harness.toy_deployment import ENDPOINT, ToyDeployment, serve_older_version, toy_deployment
from tests.e2e.harness.ui import browser_page, needs_chromium

S = dg.DagsterRunStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DOWNSTREAM = ("registered_model", "online_deployment", "live_traffic", "base_answers", "scoring_result")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyDeployment]:
    with toy_deployment(tmp_path_factory.mktemp("cancel"), pace="by hand") as deployment:
        yield deployment


@pytest.fixture
def toy(deployment: ToyDeployment) -> ToyDeployment:
    """The deployment, with nothing in it."""
    deployment.clean()
    return deployment


def running_job(toy: ToyDeployment) -> tuple[str, str]:
    """Run and job, the job in Running for as long as the gate is closed."""
    run_id = toy.dagster.launch("finetune_and_deploy")
    job = toy.job_of(run_id)
    toy.wait_for_job(job, JobStatus.RUNNING)
    return run_id, job


def assert_nothing_came_of_it(toy: ToyDeployment) -> None:
    for asset in ("finetune_job", *DOWNSTREAM):
        assert toy.dagster.materializations(asset) == [], asset
    assert list(toy.workspace.ml.models.list()) == []
    assert list(toy.workspace.ml.online_deployments.list(endpoint_name=ENDPOINT)) == []


def test_terminating_the_run_cancels_the_job(toy: ToyDeployment) -> None:
    run_id, job = running_job(toy)
    toy.dagster.terminate(run_id)
    assert toy.dagster.wait(run_id) is S.CANCELED
    # The run does not end before the job has.
    assert toy.job_status(job) is JobStatus.CANCELED
    assert_nothing_came_of_it(toy)
    assert len(toy.dagster.runs()) == 1
    assert toy.dagster.slots_in_use("endpoint_toy_completion") == 0


def test_forcing_the_termination_cancels_the_job_too(toy: ToyDeployment) -> None:
    run_id, job = running_job(toy)
    toy.dagster.terminate(run_id, force=True)
    assert toy.dagster.status(run_id) is S.CANCELED
    toy.wait_for_job(job, JobStatus.CANCELED)
    assert_nothing_came_of_it(toy)


@pytest.mark.browser
@needs_chromium
def test_pressing_terminate_in_the_ui_cancels_the_job(toy: ToyDeployment) -> None:
    # They take their time to start, and a job waits for a minute only.
    with toy.dagster.real_webserver(), toy.dagster.real_daemon():
        run_id, job = running_job(toy)
        with browser_page() as page:
            page.goto(f"{toy.dagster.url}/runs/{run_id}")
            page.get_by_role("button", name="Terminate").click()
            page.get_by_role("button", name="Terminate 1 run").click()
            assert toy.dagster.wait(run_id) is S.CANCELED
            page.get_by_text("Canceled").first.wait_for()
    assert toy.job_status(job) is JobStatus.CANCELED
    assert_nothing_came_of_it(toy)


@pytest.mark.parametrize("when", ["before", "after"])
def test_terminating_the_run_cancels_a_job_that_is_being_submitted(toy: ToyDeployment, when: str) -> None:
    fault = toy.control.add_fault(action="hold", when=when, method="PUT", route="/jobs/{name}", count=1)
    run_id = toy.dagster.launch("finetune_and_deploy")
    toy.control.wait_until_held(fault)
    toy.dagster.terminate(run_id)
    toy.dagster.wait(run_id, S.CANCELING, S.CANCELED)
    toy.control.release(fault)
    assert toy.dagster.wait(run_id) is S.CANCELED
    (job,) = toy.job_names()
    assert toy.job_status(job) is JobStatus.CANCELED
    assert_nothing_came_of_it(toy)


def test_a_job_cancelled_in_azure_ml_fails_the_asset(toy: ToyDeployment) -> None:
    run_id, job = running_job(toy)
    toy.workspace.ml.jobs.begin_cancel(job).wait()
    assert toy.dagster.wait(run_id) is S.FAILURE
    (message,) = [text for text in toy.dagster.failures(run_id) if job in text]
    assert re.search(r"was cancelled by \S+ at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", message)
    assert_nothing_came_of_it(toy)
    # An asset that failed has a reason; starting it again is for a person to decide.
    assert not toy.dagster.is_retried(run_id)
    assert toy.job_names() == [job]


def test_a_job_outlives_its_killed_worker_and_is_attached_to(toy: ToyDeployment) -> None:
    run_id, job = running_job(toy)
    os.kill(toy.dagster.worker_pid(run_id), signal.SIGTERM)
    assert toy.dagster.wait(run_id) is S.FAILURE
    assert toy.job_status(job) is JobStatus.RUNNING
    assert_nothing_came_of_it(toy)
    retry = toy.dagster.retry_of(run_id)
    toy.dagster.wait_for_message(retry, f"Job {job} is Running. Action: attached.")
    toy.open_gate()
    assert toy.dagster.wait(retry) is S.SUCCESS, toy.dagster.failures(retry)
    (materialization,) = toy.dagster.materializations("finetune_job")
    assert toy.dagster.metadata(materialization)["action"] == "attached"
    assert toy.job_names() == [job]


@contextmanager
def nobody_can_look(toy: ToyDeployment) -> Iterator[None]:
    """The service is not there in the block; its steps have gone with it."""
    process.stop(toy.emulator_directory)
    try:
        yield
    finally:
        process.ensure_running(toy.emulator_directory)


def test_a_job_that_fails_while_nobody_can_look_fails_the_asset_and_is_followed_by_another(toy: ToyDeployment) -> None:
    run_id, job = running_job(toy)
    with nobody_can_look(toy):
        toy.dagster.wait_for_message(run_id, f"Job {job} cannot be seen")
        assert toy.dagster.status(run_id) is S.STARTED
    assert toy.dagster.wait(run_id) is S.FAILURE
    assert toy.job_status(job) is JobStatus.FAILED
    (message,) = [text for text in toy.dagster.failures(run_id) if f"Job {job} failed" in text]
    assert "Studio: http://127.0.0.1:" in message
    assert_nothing_came_of_it(toy)
    toy.open_gate()
    second = toy.dagster.launch("finetune_and_deploy")
    assert toy.dagster.wait(second) is S.SUCCESS, toy.dagster.failures(second)
    (materialization,) = toy.dagster.materializations("finetune_job")
    found = toy.dagster.metadata(materialization)
    assert found["action"] == "resubmitted"
    assert job in found["reason"]
    assert toy.job_names() == [job, job.replace("-r1", "-r2")]


HELD = {
    "deployment being created": {"method": "GET", "route": "/mfeoperationsstatus/{operation}", "when": "before"},
    "smoke gate": {"method": "POST", "route": "/endpoints/{endpoint}/score", "when": "before"},
    "mirror being set": {"method": "PUT", "route": "/onlineendpoints/{endpoint}", "when": "after"},
    "a tenth being moved": {"method": "PUT", "route": "/onlineendpoints/{endpoint}", "when": "after", "skip": 1},
    "everything being moved": {"method": "PUT", "route": "/onlineendpoints/{endpoint}", "when": "after", "skip": 3},
}


@pytest.fixture(scope="module")
def trained(deployment: ToyDeployment) -> ToyDeployment:
    """The deployment with a model that has never been served."""
    deployment.clean()
    deployment.open_gate()
    run_id = deployment.dagster.launch("finetune")
    assert deployment.dagster.wait(run_id) is S.SUCCESS, deployment.dagster.failures(run_id)
    return deployment


@pytest.mark.parametrize("name", HELD)
def test_terminating_a_rollout_gives_the_traffic_back_and_leaves_nothing_to_bill(
    name: str, trained: ToyDeployment
) -> None:
    toy = trained
    serve_older_version(toy)
    fault = toy.control.add_fault(action="hold", count=1, **HELD[name])
    run_id = toy.dagster.launch("deploy")
    toy.control.wait_until_held(fault)
    toy.dagster.terminate(run_id)
    toy.control.release(fault)
    assert toy.dagster.wait(run_id) is S.CANCELED
    found = endpoint_state(toy.workspace, ENDPOINT)
    assert (dict(found.traffic), set(found.deployments)) == ({"ft-older": 100}, {"ft-older"})
    assert toy.dagster.materializations("live_traffic") == []
