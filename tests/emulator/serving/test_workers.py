"""Several processes behind one deployment: they share its requests, and one that dies takes no other along."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from tests.emulator.serving.conftest import deploy, ml, set_traffic, until
from tests.emulator.serving.echo import ask

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace


def deploy_two(workspace: "Workspace", endpoint: str, model: str) -> None:
    from azure.ai.ml.entities import OnlineRequestSettings

    wide = OnlineRequestSettings(request_timeout_ms=30_000, max_concurrent_requests_per_instance=8)
    deploy(workspace, endpoint, model, environment_variables={"WORKER_COUNT": "2"}, request_settings=wide)


@pytest.fixture
def pair(workspace: "Workspace", endpoint: str, echo: str) -> str:
    """The endpoint, with all traffic on a deployment of two workers that takes 8 requests at a time."""
    deploy_two(workspace, endpoint, echo)
    set_traffic(workspace, endpoint, blue=100)
    return endpoint


def said(front: httpx.Client, text: str) -> str:
    answer = front.post("/score", json=ask(text))
    assert answer.status_code == 200, answer.text
    return answer.json()[0]["0"]


def answering(front: httpx.Client) -> set[int]:
    """Process ids of the workers that answer three requests while a longer one is underway."""
    with ThreadPoolExecutor(4) as pool:
        slow = pool.submit(said, front, "sleep:0.5")
        time.sleep(0.1)
        found = {int(pid) for pid in pool.map(said, [front] * 3, ["pid"] * 3)}
        assert slow.result() == "echo|sleep:0.5|1"
    return found | {int(said(front, "pid"))}


def both(front: httpx.Client) -> set[int]:
    """Process ids of both workers."""
    return until(lambda: answering(front), lambda found: len(found) == 2)


@pytest.mark.slow
def test_requests_go_to_the_worker_that_has_the_fewest(pair: str, front: httpx.Client) -> None:
    pids = both(front)
    assert len(pids) == 2
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(said, [front] * 4, ["sleep:1"] * 4))) == 4
    # Each worker does one thing at a time, and had two of them.
    assert 2 <= time.monotonic() - begun < 3.5


@pytest.mark.slow
def test_one_that_dies_is_started_again_while_the_other_answers(pair: str, front: httpx.Client) -> None:
    pids = both(front)
    died = front.post("/score", json=ask("die:7"))
    assert died.status_code == 424
    left = int(said(front, "pid"))
    (gone,) = pids - {left}
    # Until there are two again, the one that is left answers everything.
    (new,) = both(front) - {left}
    assert new != gone


@pytest.mark.slow
def test_both_end_with_the_deployment_or_when_there_shall_be_one(
    workspace: "Workspace", pair: str, front: httpx.Client, echo: str
) -> None:
    pids = both(front)
    deploy(workspace, pair, echo)
    assert until(lambda: [pid for pid in pids if psutil.pid_exists(pid)], lambda alive: not alive) == []
    (single,) = {int(said(front, "pid")) for _ in range(5)}
    deploy_two(workspace, pair, echo)
    pids = both(front)
    assert single not in pids
    set_traffic(workspace, pair)
    ml(workspace).online_deployments.begin_delete("blue", pair).wait()
    assert until(lambda: [pid for pid in pids if psutil.pid_exists(pid)], lambda alive: not alive) == []
