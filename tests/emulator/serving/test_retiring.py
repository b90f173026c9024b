"""Deployments that leave: what is underway is answered, and traffic that moves on loses no request."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from phi_assets.emulator.serving.front.gate import Gate, Retired
from phi_assets.emulator.serving.rules import DeploymentSettings, with_defaults
from tests.emulator.serving.conftest import Register, deploy, ml, set_traffic, until
from tests.emulator.serving.echo import ask

NAMED = "azureml-model-deployment"


def pinned(front: httpx.Client, text: str, deployment: str = "blue") -> httpx.Response:
    return front.post("/score", json=ask(text), headers={NAMED: deployment})


def patient() -> Any:
    from azure.ai.ml.entities import OnlineRequestSettings

    return OnlineRequestSettings(request_timeout_ms=60_000)


def test_deleting_a_deployment_waits_for_those_who_wait(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    """One request is with the model, another waits for its turn; both are answered, a third one finds nobody."""
    deploy(workspace, endpoint, echo, request_settings=patient())
    with ThreadPoolExecutor(2) as pool:
        underway = [pool.submit(pinned, front, "sleep:2") for _ in range(2)]
        until(lambda: control.underway(endpoint), lambda found: found == {"blue": 2})
        deletion = ml(workspace).online_deployments.begin_delete(name="blue", endpoint_name=endpoint)
        until(lambda: pinned(front, "x").status_code, lambda status: status == 404)
        assert ml(workspace).online_deployments.get("blue", endpoint).provisioning_state == "Deleting"
        assert [answer.result().json() for answer in underway] == [[{"0": "echo|sleep:2|1"}]] * 2
        deletion.wait()
    assert list(ml(workspace).online_deployments.list(endpoint)) == []
    assert pinned(front, "x").json()["error"]["code"] == "DeploymentNotFound"


def test_deleting_the_endpoint_waits_too(workspace: Any, control: Control, echo: str) -> None:
    from tests.emulator.serving.test_endpoints import new_endpoint

    wanted = new_endpoint()
    endpoints = ml(workspace).online_endpoints
    endpoints.begin_create_or_update(wanted).wait()
    deploy(workspace, wanted.name, echo, request_settings=patient())
    set_traffic(workspace, wanted.name, blue=100)
    headers = {"Authorization": f"Bearer {endpoints.get_keys(wanted.name).primary_key}"}
    uri = str(endpoints.get(wanted.name).scoring_uri)

    def score(text: str) -> httpx.Response:
        return httpx.post(uri, json=ask(text), headers=headers, verify=workspace.tls_context(), timeout=60)

    with ThreadPoolExecutor(2) as pool:
        underway = [pool.submit(score, "sleep:2") for _ in range(2)]
        until(lambda: control.underway(wanted.name), lambda found: found == {"blue": 2})
        endpoints.begin_delete(wanted.name).wait()
        assert [answer.result().status_code for answer in underway] == [200, 200]
    assert score("x").status_code == 404


def test_new_settings_wait_for_those_who_came_under_the_old_ones(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    deploy(workspace, endpoint, echo, request_settings=patient())
    with ThreadPoolExecutor(2) as pool:
        underway = [pool.submit(pinned, front, "sleep:1.5") for _ in range(2)]
        until(lambda: control.underway(endpoint), lambda found: found == {"blue": 2})
        deploy(workspace, endpoint, echo, request_settings=patient(), instance_count=2)
        ml(workspace).online_deployments.begin_delete(name="blue", endpoint_name=endpoint).wait()
        assert [answer.result().status_code for answer in underway] == [200, 200]


@pytest.mark.slow
def test_traffic_that_moves_loses_no_request(
    workspace: Any, endpoint: str, echo: str, register: Register, front: httpx.Client
) -> None:
    """Four callers ask without a pause while deployments come, take over step by step, and go."""
    from azure.ai.ml.entities import OnlineRequestSettings

    wide = OnlineRequestSettings(request_timeout_ms=30_000, max_concurrent_requests_per_instance=8)
    models = {"blue": echo, "green": register("green")}
    deploy(workspace, endpoint, models["blue"], "blue", request_settings=wide)
    set_traffic(workspace, endpoint, blue=100)
    ended = threading.Event()
    heard: Counter[tuple[int, str]] = Counter()

    def ask_on(_: int) -> Counter[tuple[int, str]]:
        mine: Counter[tuple[int, str]] = Counter()
        while not ended.is_set():
            answer = front.post("/score", json=ask("hello"))
            mine[answer.status_code, answer.headers.get(NAMED, answer.text)] += 1
        return mine

    with ThreadPoolExecutor(4) as pool:
        asking = pool.map(ask_on, range(4))
        for old, new in [("blue", "green"), ("green", "blue")]:
            deploy(workspace, endpoint, models[new], new, request_settings=wide)
            set_traffic(workspace, endpoint, **{old: 50, new: 50})
            set_traffic(workspace, endpoint, **{new: 100})
            ml(workspace).online_deployments.begin_delete(name=old, endpoint_name=endpoint).wait()
        ended.set()
        for mine in asking:
            heard.update(mine)
    assert set(heard) == {(200, "blue"), (200, "green")}


def test_a_closed_gate_lets_out_but_not_in() -> None:
    async def scene() -> None:
        settings = DeploymentSettings.of({"capacity": 1}, with_defaults({}))
        gate = Gate(settings)
        leave = asyncio.Event()

        async def visit() -> str:
            async with gate.passage("blue"):
                await leave.wait()
                return "answered"

        # The second one waits for its turn when the gate is closed.
        visits = [asyncio.create_task(visit()) for _ in range(2)]
        await asyncio.sleep(0)
        gate.close()
        with pytest.raises(Retired):
            async with gate.passage("blue"):
                pytest.fail("nobody may enter any more")
        assert gate.pending == 2
        leave.set()
        assert await asyncio.gather(*visits) == ["answered"] * 2
        assert gate.pending == 0

    asyncio.run(scene())
