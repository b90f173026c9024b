"""Mirrored traffic through the SDK: copies reach the mirror, and nothing of what it does reaches the caller."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from tests.emulator.serving.conftest import Register, deploy, front_of, ml, set_traffic, until
from tests.emulator.serving.echo import ask

NAMED = "azureml-model-deployment"


def set_mirror(workspace: Any, endpoint: str, **mirror: int) -> Any:
    entity = ml(workspace).online_endpoints.get(endpoint)
    entity.mirror_traffic = mirror
    return ml(workspace).online_endpoints.begin_create_or_update(entity).result()


def copies(control: Control, endpoint: str) -> dict[int, int]:
    """Statuses of the copies that have been answered."""
    return control.requests(endpoint).get("green", {}).get("mirrored", {})


@pytest.fixture(scope="module")
def mirrored(workspace: Any, echo: str, register: Register) -> Iterator[str]:
    """An endpoint with `blue` (100 % of the traffic) and `green`, to which half of it is mirrored."""
    from azure.ai.ml.entities import OnlineRequestSettings

    from tests.emulator.serving.test_endpoints import new_endpoint

    wanted = new_endpoint()
    ml(workspace).online_endpoints.begin_create_or_update(wanted).wait()
    settings = OnlineRequestSettings(request_timeout_ms=4000, max_concurrent_requests_per_instance=4)
    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit(deploy, workspace, wanted.name, echo, "blue", request_settings=settings),
            pool.submit(deploy, workspace, wanted.name, register("green"), "green", request_settings=settings),
        ]:
            done.result()
    set_traffic(workspace, wanted.name, blue=100)
    assert set_mirror(workspace, wanted.name, green=50).mirror_traffic == {"green": 50}
    yield wanted.name
    ml(workspace).online_endpoints.begin_delete(wanted.name).wait()


@pytest.fixture
def door(workspace: Any, mirrored: str) -> Iterator[httpx.Client]:
    with front_of(workspace, mirrored) as client:
        yield client


def test_the_mirror_gets_its_share_and_the_caller_never_hears_of_it(
    workspace: Any, control: Control, mirrored: str, door: httpx.Client
) -> None:
    before = sum(copies(control, mirrored).values())
    for number in range(200):
        answer = door.post("/score", json=ask(f"request {number}"))
        assert (answer.status_code, answer.headers[NAMED]) == (200, "blue")
        assert answer.json() == [{"0": f"echo|request {number}|1"}]
    # Of 200 at 50 %: more than five standard deviations on both sides.
    found = until(lambda: copies(control, mirrored).get(200, 0) - before, lambda count: count > 60)
    assert found < 140
    assert control.requests(mirrored)["blue"]["live"][200] >= 200
    log = ml(workspace).online_deployments.get_logs("green", mirrored, lines=1000)
    assert log.count("POST /score 200") >= found


def test_requests_that_name_a_deployment_are_not_copied(control: Control, mirrored: str, door: httpx.Client) -> None:
    before = control.requests(mirrored).get("green", {})
    for _ in range(60):
        assert door.post("/score", json=ask("x"), headers={NAMED: "blue"}).status_code == 200
    assert door.post("/score", json=ask("x"), headers={NAMED: "green"}).json() == [{"0": "green|x|1"}]
    after = control.requests(mirrored)
    assert after["blue"]["named"][200] >= 60
    assert after["green"].get("mirrored") == before.get("mirrored")


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        # A little longer than the request timeout: the model is busy with it although nobody waits any more.
        ({"scenario": "slow", "seconds": 5, "exact": True}, {408, 429}),
        ({"scenario": "model_error", "status": 500}, {424}),
    ],
)
def test_a_mirror_that_is_slow_or_fails_costs_the_caller_nothing(
    control: Control, mirrored: str, door: httpx.Client, scenario: dict[str, Any], expected: set[int]
) -> None:
    before = copies(control, mirrored)
    control.add_scenario("deployment", match=f"{mirrored}/green", **scenario)
    answers = [door.post("/score", json=ask("x")) for _ in range(60)]
    assert {(answer.status_code, answer.headers[NAMED]) for answer in answers} == {(200, "blue")}
    # The callers had their answers although not one copy has been answered well.
    assert copies(control, mirrored).get(200) == before.get(200)
    until(
        lambda: {status for status, count in copies(control, mirrored).items() if count > before.get(status, 0)},
        lambda statuses: expected <= statuses,
    )
    until(lambda: control.underway(mirrored)["green"], lambda count: count == 0)


def test_the_mirror_takes_over_in_one_step(workspace: Any, control: Control, mirrored: str, door: httpx.Client) -> None:
    entity = ml(workspace).online_endpoints.get(mirrored)
    entity.traffic, entity.mirror_traffic = {"blue": 0, "green": 100}, {}
    updated = ml(workspace).online_endpoints.begin_create_or_update(entity).result()
    assert (updated.traffic, updated.mirror_traffic or {}) == ({"green": 100}, {})
    before = copies(control, mirrored)
    for _ in range(20):
        assert door.post("/score", json=ask("x")).headers[NAMED] == "green"
    assert copies(control, mirrored) == before


def test_a_mirror_without_live_traffic_gets_nothing(
    workspace: Any, control: Control, mirrored: str, door: httpx.Client
) -> None:
    set_traffic(workspace, mirrored)
    set_mirror(workspace, mirrored, green=50)
    before = copies(control, mirrored)
    assert {door.post("/score", json=ask("x")).status_code for _ in range(20)} == {404}
    assert copies(control, mirrored) == before


@pytest.mark.parametrize(
    ("traffic", "mirror", "reason"),
    [
        ({"blue": 100}, {"green": 51}, "At most 50 %"),
        ({"green": 100}, {"green": 10}, "live traffic or mirrored traffic, not both"),
        ({"blue": 100}, {"purple": 10}, "does not exist"),
    ],
)
def test_the_services_rules_of_mirroring(
    workspace: Any, mirrored: str, traffic: dict[str, int], mirror: dict[str, int], reason: str
) -> None:
    from azure.core.exceptions import HttpResponseError

    entity = ml(workspace).online_endpoints.get(mirrored)
    entity.traffic, entity.mirror_traffic = traffic, mirror
    with pytest.raises(HttpResponseError, match=reason):
        ml(workspace).online_endpoints.begin_create_or_update(entity).result()
