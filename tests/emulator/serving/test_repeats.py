"""A request that is sent again because its answer got lost, while its first copy is being worked on."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.emulator.http import arm_client
from tests.emulator.jobs import until

ENDPOINT = {"location": "emulator", "properties": {"authMode": "Key"}}


@pytest.fixture
def arm(emulator: Connection) -> Iterator[httpx.Client]:
    with arm_client(emulator) as client:
        yield client


@pytest.fixture
def shop(arm: httpx.Client) -> Iterator[str]:
    """Path of an endpoint that does not exist yet; deleted afterwards."""
    path = f"/onlineEndpoints/test-{uuid.uuid4().hex[:8]}"
    yield path
    arm.delete(path)
    until(lambda: arm.get(path).status_code == 404, "the endpoint to be deleted")


def outcome(arm: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The operation of an accepted request, once it has ended."""
    found: dict[str, Any] = {}

    def look() -> bool:
        found.update(arm.get(answer.headers["Azure-AsyncOperation"]).raise_for_status().json())
        return found["status"] != "Updating"

    until(look, "the operation to end")
    return found


def test_an_endpoint_is_created_once(arm: httpx.Client, control: Control, shop: str) -> None:
    control.set_time_scale(0.2)
    answers = [arm.put(shop, json=ENDPOINT) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert arm.put(shop, json=ENDPOINT | {"tags": {"another": "content"}}).status_code == 409
    assert [outcome(arm, answer)["status"] for answer in answers] == ["Succeeded"] * 3
    assert arm.get(shop).json()["properties"]["provisioningState"] == "Succeeded"


def test_a_deployment_is_created_once(arm: httpx.Client, control: Control, shop: str, echo: str) -> None:
    outcome(arm, arm.put(shop, json=ENDPOINT))
    control.add_scenario("deployment", scenario="delay", match=f"{shop.rsplit('/', 1)[1]}/blue", seconds=3, exact=True)
    blue = f"{shop}/deployments/blue"
    body = {"location": "emulator", "properties": {"model": echo}}
    answers = [arm.put(blue, json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert arm.put(blue, json=body | {"sku": {"name": "Default", "capacity": 2}}).status_code == 409
    assert [outcome(arm, answer)["status"] for answer in answers] == ["Succeeded"] * 3


def test_all_copies_of_a_failing_request_learn_why(arm: httpx.Client, control: Control, shop: str, echo: str) -> None:
    outcome(arm, arm.put(shop, json=ENDPOINT))
    match = f"{shop.rsplit('/', 1)[1]}/blue"
    control.add_scenario("deployment", scenario="delay", match=match, seconds=3, exact=True)
    control.add_scenario("deployment", scenario="OutOfQuota", match=match)
    body = {"location": "emulator", "properties": {"model": echo}}
    answers = [arm.put(f"{shop}/deployments/blue", json=body) for _ in range(2)]
    assert [outcome(arm, answer)["error"]["code"] for answer in answers] == ["OutOfQuota"] * 2


def test_a_repeated_deletion_does_not_delete_what_came_after(
    arm: httpx.Client, control: Control, shop: str, echo: str
) -> None:
    outcome(arm, arm.put(shop, json=ENDPOINT))
    control.set_time_scale(0.2)
    first = arm.delete(shop)
    second = arm.delete(shop)
    control.set_time_scale(5)
    assert (first.status_code, second.status_code) == (202, 202)
    until(lambda: arm.get(shop).status_code == 404, "the endpoint to be gone")
    outcome(arm, arm.put(shop, json=ENDPOINT))
    assert [outcome(arm, answer)["status"] for answer in (first, second)] == ["Succeeded", "Succeeded"]
    assert arm.get(shop).json()["properties"]["provisioningState"] == "Succeeded"
