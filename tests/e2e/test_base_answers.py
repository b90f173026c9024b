"""A run ends before its time while the base model is asked: no deployment of it is left, then or after the next run."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from tests.e2e.harness.toy_deployment import ENDPOINT, ToyDeployment, toy_deployment

S = dg.DagsterRunStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DEPLOYMENT, SCORE = "/onlineendpoints/{endpoint}/deployments/{name}", "/endpoints/{endpoint}/score"

POINTS: dict[str, dict[str, Any]] = {
    "deployment accepted, answer lost": {"method": "PUT", "route": DEPLOYMENT, "when": "after"},
    "first question not asked": {"method": "POST", "route": SCORE, "when": "before"},
    "deployment not deleted": {"method": "DELETE", "route": DEPLOYMENT, "when": "before"},
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyDeployment]:
    with toy_deployment(tmp_path_factory.mktemp("base"), pace="by hand") as deployment:
        deployment.open_gate()
        run_id = deployment.dagster.launch("finetune_and_deploy")
        assert deployment.dagster.wait(run_id) is S.SUCCESS, deployment.dagster.failures(run_id)
        yield deployment


@pytest.fixture
def toy(deployment: ToyDeployment) -> ToyDeployment:
    """A model serves and is scored, and the base model has never been asked."""
    shutil.rmtree(deployment.home / "data" / "base_answers")
    deployment.dagster.look_away()
    return deployment


def deployments(toy: ToyDeployment) -> list[str]:
    return sorted(str(found.name) for found in toy.workspace.ml.online_deployments.list(endpoint_name=ENDPOINT))


def held(toy: ToyDeployment, point: dict[str, Any], end: Callable[[str], None]) -> str:
    """A run that has been ended while a request of that kind was underway."""
    fault = toy.control.add_fault(action="hold", count=1, **point)
    run_id = toy.dagster.launch("finetune_and_deploy", assets=["base_answers", "scoring_result"])
    toy.control.wait_until_held(fault)
    end(run_id)
    toy.control.release(fault, discard=point["when"] == "before")
    return run_id


@pytest.mark.parametrize("name", POINTS)
def test_after_a_kill_the_next_run_cleans_up(name: str, toy: ToyDeployment) -> None:
    before = deployments(toy)
    run_id = held(toy, POINTS[name], lambda run: os.kill(toy.dagster.worker_pid(run), signal.SIGKILL))
    assert toy.dagster.wait(run_id) is S.FAILURE
    retry = toy.dagster.retry_of(run_id)
    assert toy.dagster.wait(retry) is S.SUCCESS, toy.dagster.failures(retry)
    assert deployments(toy) == before
    (found,) = toy.dagster.materializations("base_answers")
    # The questions were answered before the deletion, which is all that was left to do.
    assert toy.dagster.metadata(found)["action"] == ("reused" if "deleted" in name else "scored")


def test_a_terminated_run_deletes_the_deployment_before_it_ends(toy: ToyDeployment) -> None:
    before = deployments(toy)
    run_id = held(toy, POINTS["first question not asked"], toy.dagster.terminate)
    assert toy.dagster.wait(run_id) is S.CANCELED
    assert deployments(toy) == before
    assert toy.dagster.materializations("base_answers") == []
