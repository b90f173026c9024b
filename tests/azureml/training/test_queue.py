"""A job that waits for a node: said with the cluster's own words, and not for ever."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from phi_assets.azureml.billing.bill import read_bill
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import QueueTimeout
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.azureml.training.live.limits import Limits
from phi_assets.azureml.training.lookup import get_job
from phi_assets.azureml.training.waiting import wait_for_job
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml.toys import COMPUTE, make_request
from tests.azureml.training.waiting_room import Lines, Submissions
from tests.emulator_requests import Requests

QUOTA = "The nodes of the cluster cannot be allocated: a Dedicated node needs 24 vCPUs, and the quota is used up."


@pytest.fixture
def starved(background: ThreadPoolExecutor, toys: Workspace, control: Control) -> Iterator[Control]:
    """The cluster exists and gets no nodes, and says so."""
    control.add_scenario(
        "compute", scenario="allocation_failed", state="Succeeded", match=COMPUTE.name, message=QUOTA, count=None
    )
    yield control
    control.clear_scenarios()


def test_a_queue_that_never_moves_ends_by_the_recipes_limit_and_leaves_nothing(
    starved: Control, toys: Workspace, tmp_path: Path, emulator: Connection
) -> None:
    request = make_request(toys, tmp_path)
    hurried = replace(request, finetune=request.finetune.model_copy(update={"max_queue_hours": 2 / 3600}))
    with Requests(emulator) as requests, pytest.raises(QueueTimeout) as caught:
        ensure_job(toys, request=hurried)
    message = str(caught.value)
    for part in (
        f"Job {request.job_name(1)} waited for a node for more than 0:00:02 and has been cancelled",
        f"Cluster {COMPUTE.name} is Steady: 0 of at most {COMPUTE.max_nodes} nodes",
        f"ClusterCoreQuotaReached: {QUOTA.rstrip('.')}",
        "`finetune.max_queue_hours`",
    ):
        assert part in message
    assert get_job(toys, request.job_name(1)).status == "Canceled"
    assert [line.split()[0] for line in requests.writes if "/jobs/" in line] == ["PUT", "POST"]
    assert not [item for item in read_bill(toys, None).items if item.name == COMPUTE.name]


def test_the_heartbeat_says_queued_and_why(
    background: ThreadPoolExecutor, starved: Control, toys: Workspace, tmp_path: Path
) -> None:
    request, submissions, lines = make_request(toys, tmp_path), Submissions(), Lines()
    background.submit(ensure_job, toys, request=request, on_submitted=submissions)
    name = submissions.first().name
    limits = Limits(timedelta(hours=1), timedelta(hours=1), heartbeat_seconds=0.3, cluster_seconds=0.2)
    waiting = background.submit(wait_for_job, toys, name, limits, COMPUTE.name, lines)
    lines.expect("Waiting for a node. Cluster", "ClusterCoreQuotaReached", QUOTA.rstrip("."))
    lines.expect(f"Job {name} is still Queued for", f"of at most {COMPUTE.max_nodes} nodes", "ClusterCoreQuotaReached")
    # Said once where it does not change, beside the heartbeat.
    assert sum(line.startswith("Waiting for a node") and "ClusterCoreQuotaReached" in line for line in lines) == 1
    starved.clear_scenarios()
    assert waiting.result(60).status == "Completed"


def test_a_step_that_waits_makes_the_heartbeat_of_a_running_job_say_so(
    background: ThreadPoolExecutor, toys: Workspace, control: Control, tmp_path: Path
) -> None:
    control.add_scenario("job", scenario="stuck_queued", step="toy_step")
    request, submissions, lines = make_request(toys, tmp_path), Submissions(), Lines()
    background.submit(ensure_job, toys, request=request, on_submitted=submissions)
    name = submissions.first().name
    limits = Limits(timedelta(hours=1), timedelta(hours=1), heartbeat_seconds=0.3, cluster_seconds=0.2)
    waiting = background.submit(wait_for_job, toys, name, limits, COMPUTE.name, lines)
    lines.expect("Running")
    lines.expect(f"Job {name} is still Queued for", "(toy_step is Queued)", f"Cluster {COMPUTE.name} is")
    control.clear_scenarios()
    assert waiting.result(60).status == "Completed"


def test_the_wait_for_a_node_counts_from_the_jobs_creation_by_the_services_clock(
    background: ThreadPoolExecutor, toys: Workspace, control: Control, tmp_path: Path
) -> None:
    """Who attaches later does not begin anew."""
    control.add_scenario("job", scenario="stuck_queued", step="toy_step")
    request, submissions, lines = make_request(toys, tmp_path), Submissions(), Lines()
    first = background.submit(ensure_job, toys, request=request, on_submitted=submissions, log=lines)
    submissions.first()
    control.set_clock(73 * 3600.0)
    with pytest.raises(QueueTimeout, match="more than 3 days, 0:00:00"):
        first.result(60)
