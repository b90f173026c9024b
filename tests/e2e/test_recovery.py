"""All processes have gone, or all servers: runs go on where they were, or are started again."""

from collections.abc import Iterator

import dagster as dg
import pytest

from phi_assets.azureml.connection.status import JobStatus
from tests.e2e.harness.processes import until
from tests.e2e.harness.toy_deployment import ToyDeployment, toy_deployment

S = dg.DagsterRunStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyDeployment]:
    # Here everything is Dagster's own; elsewhere workers start, and the daemon looks, more quickly.
    with toy_deployment(tmp_path_factory.mktemp("recovery"), pace="own") as toy:
        yield toy


def test_a_run_that_lost_its_machine_is_started_again_attaches_and_outlives_the_servers(toy: ToyDeployment) -> None:
    run_id = toy.dagster.launch("finetune")
    job = toy.job_of(run_id)
    toy.wait_for_job(job, JobStatus.RUNNING)
    toy.dagster.lose_power()
    assert toy.dagster.status(run_id) is S.STARTED
    toy.dagster.start()
    assert toy.dagster.wait(run_id) is S.FAILURE
    retry = toy.dagster.retry_of(run_id)
    toy.dagster.wait_for_message(retry, f"Job {job} is Running. Action: attached.")

    # Now its worker goes on without the servers, and those that come after them leave it alone.
    toy.dagster.lose_servers()
    log = toy.dagster.directory / "daemon.log"
    looks = log.read_text().count(f"Checking run {retry}")
    toy.dagster.start()
    until(lambda: log.read_text().count(f"Checking run {retry}") > looks + 1 or None, 120, "The daemon does not look")
    assert toy.dagster.status(retry) is S.STARTED
    toy.open_gate()
    assert toy.dagster.wait(retry) is S.SUCCESS, toy.dagster.failures(retry)
    assert toy.job_names() == [job]
    assert {run.run_id for run in toy.dagster.runs()} == {run_id, retry}
