"""Steps wait for the nodes of their cluster, first come, first served, and no thread waits with them."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from phi_assets.emulator.routes import computes
from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.runner.lifecycle import JobRunner
from phi_assets.emulator.runner.records import Records
from phi_assets.emulator.workspace.compute_documents import compute_resource, new_cluster, wanted_cluster
from phi_assets.emulator.workspace.nodes import Nodes
from tests.emulator.jobs import until
from tests.emulator.runner.test_no_room import FILE, status, submit
from tests.emulator.testing_registry import COPY, WAIT, data, literal, pipeline

FAMILY = "standardNCADSA100v4Family"
CLUSTER = "line"
ON_CLUSTER = {"computeId": CLUSTER}
COPYING = pipeline(copy={"componentId": COPY, "inputs": {"source": data(FILE)}, **ON_CLUSTER})
COPYING_TWICE = pipeline(
    first={"componentId": COPY, "inputs": {"source": data(FILE)}},
    second={
        "componentId": COPY,
        "inputs": {"source": literal("${{parent.jobs.first.outputs.target}}")},
        "resources": {"instance_count": 2},
        **ON_CLUSTER,
    },
)
WAITING = pipeline(wait={"componentId": WAIT, "inputs": {"seconds": literal("60")}, **ON_CLUSTER})


def scale(parts: Parts, most: int, least: int = 0) -> None:
    """The cluster, which is made if there is none, may have so many nodes."""
    wanted = {"vmSize": "Standard_NC24ads_A100_v4", "scaleSettings": {"minNodeCount": least, "maxNodeCount": most}}
    body: dict[str, Any] = {"properties": {"computeType": "AmlCompute", "properties": wanted}}
    cluster = new_cluster(parts.emulator, CLUSTER, body, wanted_cluster(body)) | {"identity": None}
    parts.emulator.store.put("compute", CLUSTER, cluster)
    computes._settle(parts.emulator, CLUSTER)


def shown(parts: Parts) -> dict[str, Any]:
    """What the cluster says of its nodes."""
    document = parts.emulator.store.get("compute", CLUSTER)
    assert document is not None
    return compute_resource(parts.emulator, document)["properties"]["properties"]


def steps(parts: Parts, job: str) -> list[dict[str, Any]]:
    return Records(parts.emulator).family(job)[1:]


def until_queued(parts: Parts, *jobs: str) -> None:
    """A step of each of them waits, and no thread does any more."""
    for job in jobs:
        until(lambda job=job: [run["status"] for run in steps(parts, job)][-1:] == ["Queued"], f"{job} to queue")
        name = f"job {job}"
        until(lambda name=name: all(thread.name != name for thread in threading.enumerate()), "its thread to end")


def until_running(parts: Parts, job: str) -> None:
    until(lambda: any(run["process"] for run in steps(parts, job)), f"a step of {job} to run")


def until_completed(parts: Parts, *jobs: str) -> None:
    for job in jobs:
        until(lambda job=job: status(parts, job) == "Completed", f"{job} to complete")


@pytest.mark.parametrize("by", ["max_nodes", "quota"])
def test_what_waits_goes_on_in_the_order_of_submission_and_one_at_a_time(parts: Parts, by: str) -> None:
    scale(parts, most=1 if by == "max_nodes" else 5)
    parts.emulator.quotas.set({FAMILY: 24 if by == "quota" else 1000})
    submit(parts, "holder", WAITING)
    until_running(parts, "holder")
    jobs = ("a", "b", "c")
    for job in jobs:
        submit(parts, job, COPYING)
    until_queued(parts, *jobs)
    assert [status(parts, job) for job in jobs] == ["Running"] * 3  # a pipeline runs while its step is Queued
    assert (shown(parts)["currentNodeCount"], shown(parts)["nodeStateCounts"]["runningNodeCount"]) == (1, 1)
    assert parts.emulator.nodes.in_use()[FAMILY] == 24
    errors = shown(parts)["errors"]
    assert [each["error"]["code"] for each in errors or []] == ["ClusterCoreQuotaReached"] * (by == "quota")
    parts.runner.cancel("holder")
    until_completed(parts, *jobs)
    times = [(run["started"], run["ended"]) for job in jobs for run in steps(parts, job)]
    assert all(started < ended for started, ended in times)
    assert [moment for pair in times for moment in pair] == sorted(moment for pair in times for moment in pair)
    assert (shown(parts)["currentNodeCount"], shown(parts)["errors"]) == (0, None)


def test_who_is_cancelled_in_the_queue_never_runs_and_keeps_nobody_from_running(parts: Parts) -> None:
    scale(parts, most=1)
    submit(parts, "holder", WAITING)
    until_running(parts, "holder")
    submit(parts, "cancelled", WAITING)
    submit(parts, "next", COPYING)
    until_queued(parts, "cancelled", "next")
    parts.runner.cancel("cancelled")
    until(lambda: status(parts, "cancelled") == "Canceled", "it to end")
    assert [run["started"] for run in steps(parts, "cancelled")] == [None]
    assert [run["status"] for run in steps(parts, "next")] == ["Queued"]
    parts.runner.cancel("holder")
    until_completed(parts, "next")


@pytest.mark.parametrize("what", ["max_nodes", "quota"])
def test_more_nodes_are_used_as_soon_as_there_may_be_some(parts: Parts, what: str) -> None:
    scale(parts, most=1 if what == "max_nodes" else 2)
    parts.emulator.quotas.set({FAMILY: 24 if what == "quota" else 1000})
    submit(parts, "holder", WAITING)
    until_running(parts, "holder")
    submit(parts, "next", COPYING)
    until_queued(parts, "next")
    if what == "max_nodes":
        scale(parts, most=2)
    else:
        parts.emulator.quotas.set({})
    until_completed(parts, "next")
    assert status(parts, "holder") == "Running"


def test_who_waits_for_a_cluster_that_is_deleted_fails(parts: Parts) -> None:
    scale(parts, most=1)
    submit(parts, "holder", WAITING)
    until_running(parts, "holder")
    submit(parts, "next", COPYING)
    until_queued(parts, "next")
    parts.emulator.store.delete("compute", CLUSTER)
    parts.runner.lose_cluster(CLUSTER)
    scale(parts, most=1)  # another one of the same name
    for job in ("holder", "next"):
        until(lambda job=job: status(parts, job) == "Failed", f"{job} to fail")
        assert [run["error"]["message"] for run in steps(parts, job)] == ["AzureMLCompute cluster line does not exist"]
    submit(parts, "last", COPYING)
    until_completed(parts, "last")


def test_a_step_of_several_nodes_waits_until_all_of_them_are_there(parts: Parts) -> None:
    scale(parts, most=1)
    submit(parts, "wide", COPYING_TWICE)
    until(lambda: len(steps(parts, "wide")) == 2, "the first step to end")
    until_queued(parts, "wide")
    submit(parts, "behind", COPYING)
    until_queued(parts, "behind")  # it would fit, and is not served first
    scale(parts, most=2)
    until_completed(parts, "wide", "behind")


def test_after_a_restart_they_wait_in_their_old_places(parts: Parts) -> None:
    scale(parts, most=0)
    jobs = ("a", "wide", "b")
    for job in jobs:
        submit(parts, job, COPYING_TWICE if job == "wide" else COPYING)
    until_queued(parts, *jobs)
    ran_before = steps(parts, "wide")[0]
    restart(parts)
    until_queued(parts, *jobs)
    scale(parts, most=2)
    until_completed(parts, *jobs)
    first, _ = steps(parts, "wide")
    assert first == ran_before  # what had been done is not done again
    starts = [steps(parts, job)[-1]["started"] for job in jobs]
    assert starts == sorted(starts)


def test_after_a_restart_who_waits_for_what_is_gone_fails(parts: Parts) -> None:
    scale(parts, most=0)
    submit(parts, "a", COPYING)
    until_queued(parts, "a")
    restart(parts, meanwhile=lambda: parts.emulator.store.delete("compute", CLUSTER))
    assert status(parts, "a") == "Failed"
    assert "no compute 'line'" in steps(parts, "a")[0]["error"]["message"]


def restart(parts: Parts, meanwhile: Callable[[], object] = lambda: None) -> None:
    """The emulator is stopped and started; a runner is all that there is of it here."""
    parts.emulator.stopping.set()
    parts.runner.shutdown()
    assert all(job["status"] == "Running" for job in parts.emulator.store.list("job"))
    meanwhile()
    parts.emulator.stopping.clear()
    parts.emulator.nodes = Nodes(parts.emulator.store, parts.emulator.quotas)
    parts.runner = JobRunner(parts.emulator)
    parts.runner.recover()
