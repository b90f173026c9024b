"""Quota and capacity that are not there: what the SDK and the jobs see of it."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from phi_assets.emulator.control import Control
from tests.emulator.jobs import FILE, Jobs, until
from tests.emulator.testing_registry import COPY, WAIT, data, literal, pipeline

SIZE = "Standard_NC24ads_A100_v4"


@pytest.fixture
def name() -> str:
    return f"scene-{uuid.uuid4().hex[:8]}x"


@pytest.fixture
def create(workspace: Any, name: str) -> Callable[..., Any]:
    """Creates the cluster through the SDK and waits for it."""

    def create(tier: str = "dedicated") -> Any:
        from azure.ai.ml.entities import AmlCompute

        return workspace.ml.compute.begin_create_or_update(AmlCompute(name=name, size=SIZE, tier=tier)).result()

    return create


def copying(compute: str) -> dict[str, Any]:
    return pipeline(copy={"componentId": COPY, "computeId": compute, "inputs": {"source": data(FILE)}})


def step_status(jobs: Jobs, job: str) -> str:
    return next((child["status"] for child in jobs.children(job)), "none")


def test_quota_is_refused_for_one_tier_only(workspace: Any, control: Control, create, name: str) -> None:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    control.add_scenario("compute", scenario="refused", match=name, tier="Dedicated", count=None)
    with pytest.raises(HttpResponseError, match="vCPU quota of 0") as refused:
        create("dedicated")
    assert refused.value.status_code == 400
    assert refused.value.error is not None
    assert refused.value.error.code == "ClusterMinNodesExceedCoreQuota"
    assert "standardNCADSA100v4Family" in str(refused.value)
    with pytest.raises(ResourceNotFoundError):
        workspace.ml.compute.get(name)
    assert create("low_priority").provisioning_state == "Succeeded"


def test_quota_is_refused_as_often_as_asked_for(control: Control, create, name: str) -> None:
    from azure.core.exceptions import HttpResponseError

    control.add_scenario("compute", scenario="refused", match=name, message="not today")
    with pytest.raises(HttpResponseError, match="not today"):
        create()
    assert create().provisioning_state == "Succeeded"


def test_a_creation_fails_for_want_of_nodes(workspace: Any, control: Control, create, name: str) -> None:
    from azure.core.exceptions import HttpResponseError

    control.add_scenario("compute", scenario="allocation_failed", match=name)
    with pytest.raises(HttpResponseError, match="ClusterCoreQuotaReached"):
        create()
    failed = workspace.ml.compute.get(name)
    assert (failed.provisioning_state, failed.provisioning_errors) == ("Failed", "ClusterCoreQuotaReached")
    workspace.ml.compute.begin_delete(name).wait()
    healed = create()
    assert (healed.provisioning_state, healed.provisioning_errors) == ("Succeeded", None)


def test_jobs_stay_queued_on_a_cluster_without_nodes(jobs: Jobs, control: Control, create, name: str) -> None:
    control.add_scenario("compute", scenario="allocation_failed", state="Succeeded", match=name)
    assert create().provisioning_state == "Succeeded"
    (error,) = jobs.client.get(f"/computes/{name}").json()["properties"]["properties"]["errors"]
    assert error["error"]["code"] == "ClusterCoreQuotaReached"
    for job in (f"{name}-a", f"{name}-b"):
        jobs.submitted(job, copying(name))
        until(lambda job=job: step_status(jobs, job) == "Queued", "the step to queue")
    jobs.client.post(f"/jobs/{name}-b/cancel").raise_for_status()
    assert jobs.ended(f"{name}-b") == "Canceled"
    assert step_status(jobs, f"{name}-a") == "Queued"
    control.clear_scenarios()
    assert jobs.ended(f"{name}-a") == "Completed"
    assert jobs.client.get(f"/computes/{name}").json()["properties"]["properties"]["errors"] is None


def test_a_cluster_that_exists_can_run_out_of_nodes_for_a_while(
    jobs: Jobs, control: Control, create, name: str
) -> None:
    create()
    control.add_scenario("compute", scenario="allocation_failed", state="Succeeded", match=name)
    jobs.submitted(name, copying(name))
    compute = f"/computes/{name}"
    until(lambda: jobs.client.get(compute).json()["properties"]["properties"]["errors"], "the nodes to be missed")
    assert step_status(jobs, name) == "Queued"
    control.clear_scenarios()
    assert jobs.ended(name) == "Completed"


def test_jobs_stay_queued_on_a_cluster_that_may_have_no_nodes(jobs: Jobs, create, name: str) -> None:
    create()
    scale = {"properties": {"properties": {"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 0}}}}
    jobs.client.patch(f"/computes/{name}", json=scale).raise_for_status()
    jobs.submitted(name, copying(name))
    until(lambda: step_status(jobs, name) == "Queued", "the step to queue")
    until(lambda: allocation(jobs, name) == "Steady", "the cluster to be as asked")
    assert (jobs.status(name), step_status(jobs, name)) == ("Running", "Queued")
    scale["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = 1
    jobs.client.patch(f"/computes/{name}", json=scale).raise_for_status()
    assert jobs.ended(name) == "Completed"


def allocation(jobs: Jobs, name: str) -> str:
    return jobs.client.get(f"/computes/{name}").json()["properties"]["properties"]["allocationState"]


@pytest.mark.parametrize("when", ["queued", "running"])
def test_a_job_fails_when_its_cluster_is_deleted(jobs: Jobs, control: Control, create, name: str, when: str) -> None:
    create()
    gate = {"componentId": WAIT, "computeId": name, "inputs": {"seconds": literal("600")}}
    if when == "queued":
        control.add_scenario("compute", scenario="allocation_failed", state="Succeeded", match=name)
    jobs.submitted(name, pipeline(wait=gate))
    if when == "queued":
        until(lambda: step_status(jobs, name) == "Queued", "the step to queue")
    else:
        jobs.running_step(name)
    jobs.client.delete(f"/computes/{name}").raise_for_status()
    assert jobs.ended(name) == "Failed"
    (step,) = jobs.children(name)
    assert step["status"] == "Failed"
    error = jobs.run(step["runId"])["error"]["error"]
    assert (error["code"], error["message"]) == ("UserError", f"AzureMLCompute cluster {name} does not exist")
    assert f"AzureMLCompute cluster {name} does not exist" in jobs.run(name)["error"]["error"]["message"]


def test_a_repeated_deletion_is_accepted(jobs: Jobs, control: Control, create, name: str) -> None:
    create()
    control.set_time_scale(0.25)  # so that the second request meets the work of the first
    answers = [jobs.client.delete(f"/computes/{name}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    for answer in answers:
        status = answer.headers["Azure-AsyncOperation"]
        until(lambda status=status: jobs.client.get(status).json()["status"] == "Succeeded", "the deletion")
    assert jobs.client.get(f"/computes/{name}").status_code == 404
