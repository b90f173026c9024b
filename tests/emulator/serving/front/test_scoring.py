"""The front of an endpoint: who may score, which deployment answers, and what is said when none can."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.emulator.serving.conftest import Register, deploy, front_of, ml, set_traffic, until
from tests.emulator.serving.echo import ask

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

PINNED = "azureml-model-deployment"
STATUS, REASON = "ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"


@pytest.fixture(scope="module")
def served(workspace: "Workspace", register: Register, echo: str) -> Iterator[str]:
    """An endpoint with `blue` (80 % of the traffic), `green` (20 %) and `wide`, which takes 16 requests at a time."""
    from azure.ai.ml.entities import OnlineRequestSettings

    from tests.emulator.serving.test_endpoints import new_endpoint

    wanted = new_endpoint()
    ml(workspace).online_endpoints.begin_create_or_update(wanted).wait()
    patient = OnlineRequestSettings(request_timeout_ms=60_000, max_concurrent_requests_per_instance=16)
    with ThreadPoolExecutor(3) as pool:
        for done in [
            pool.submit(deploy, workspace, wanted.name, echo, "blue"),
            pool.submit(deploy, workspace, wanted.name, register("green"), "green"),
            pool.submit(deploy, workspace, wanted.name, register("wide"), "wide", request_settings=patient),
        ]:
            done.result()
    set_traffic(workspace, wanted.name, blue=80, green=20)
    yield wanted.name
    ml(workspace).online_endpoints.begin_delete(wanted.name).wait()


@pytest.fixture(scope="module")
def door(workspace: "Workspace", served: str) -> Iterator[httpx.Client]:
    """A client of the served endpoint that carries its key."""
    with front_of(workspace, served) as client:
        yield client


def score(door: httpx.Client, *texts: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return door.post("/score", json=ask(*texts), headers=named)


def pinned(door: httpx.Client, text: str, deployment: str) -> httpx.Response:
    return door.post("/score", json=ask(text), headers={PINNED: deployment})


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic x", "Bearer clé"])
def test_only_a_key_opens(door: httpx.Client, authorization: str) -> None:
    answer = door.post("/score", json=ask("x"), headers=[(b"Authorization", authorization.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "Unauthorized"


def test_both_keys_open_until_they_are_replaced(workspace: "Workspace", served: str, door: httpx.Client) -> None:
    old = ml(workspace).online_endpoints.get_keys(served).secondary_key
    assert score(door, "x", Authorization=f"Bearer {old}").status_code == 200
    ml(workspace).online_endpoints.begin_regenerate_keys(served, key_type="secondary").wait()
    assert score(door, "x", Authorization=f"Bearer {old}").status_code == 401
    new = ml(workspace).online_endpoints.get_keys(served).secondary_key
    assert score(door, "x", Authorization=f"Bearer {new}").status_code == 200


def test_answers_name_their_deployment_and_follow_the_weights(door: httpx.Client) -> None:
    drawn = Counter(score(door, "who").headers[PINNED] for _ in range(250))
    assert set(drawn) == {"blue", "green"}
    assert 0.68 < drawn["blue"] / 250 < 0.92  # more than four standard deviations on both sides


def test_the_header_decides_before_the_weights(door: httpx.Client) -> None:
    for name in ("wide", "green"):
        answer = pinned(door, "who", name)
        assert (answer.headers[PINNED], answer.json()) == (name, [{"0": f"{name}|who|1"}])


def test_several_conversations_get_several_answers(door: httpx.Client) -> None:
    answer = door.post("/score", json=ask("one", "two"), headers={PINNED: "wide"})
    assert answer.json() == [{"0": "wide|one|2"}, {"0": "wide|two|2"}]


def test_without_a_deployment_there_is_no_answer(
    workspace: "Workspace", door: httpx.Client, front: httpx.Client
) -> None:
    unknown = pinned(door, "x", "purple")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "DeploymentNotFound")
    idle = score(front, "x")
    assert (idle.status_code, idle.json()["error"]["code"]) == (404, "NoDeploymentWithTraffic")
    missing = door.post(f"{workspace.resource_manager}/endpoints/nothing-here/score", json=ask("x"))
    assert missing.status_code == 404


def test_request_ids_come_back(door: httpx.Client) -> None:
    answer = score(door, "x", x_ms_client_request_id="mine-1")
    assert answer.headers["x-ms-client-request-id"] == "mine-1"
    assert answer.headers["x-ms-request-id"] != score(door, "x").headers["x-ms-request-id"]


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [("refuse:too hot, søster", "400", "The model refused the request: too hot"), ("fail:no luck", "500", "no luck")],
)
def test_what_the_model_refuses_is_424_with_its_reason(door: httpx.Client, text: str, status: str, reason: str) -> None:
    answer = pinned(door, text, "blue")
    assert answer.status_code == 424
    assert answer.headers[STATUS] == status
    assert reason in answer.headers[REASON]
    assert answer.headers[PINNED] == "blue"
    assert answer.json()["error"]["code"] == "ModelError"
    assert reason in answer.json()["error"]["message"]


def test_a_request_of_the_wrong_form_is_424_with_what_is_expected(door: httpx.Client) -> None:
    answer = door.post("/score", content=b'{"inputs": ["x"]}', headers={PINNED: "blue"})
    assert (answer.status_code, answer.headers[STATUS]) == (424, "400")
    assert "no 'input_data' (it has 'inputs')" in answer.json()["error"]["message"]


def test_too_many_pending_requests_are_refused(door: httpx.Client) -> None:
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: pinned(door, "sleep:0.6", "blue"), range(5)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: 2, 429: 3}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "2 * 1 (max_concurrent_requests_per_instance) * 1 (instance_count)" in refused.json()["error"]["message"]
    assert score(door, "x").status_code == 200


def test_one_request_at_a_time_reaches_a_default_deployment(door: httpx.Client) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: pinned(door, "sleep:0.2", "blue").json()[0]["0"], range(2)))
    assert answers == ["echo|sleep:0.2|1"] * 2


def test_waiting_requests_of_a_wide_deployment_are_batched(door: httpx.Client) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        slow = pool.submit(pinned, door, "sleep:1", "wide")
        time.sleep(0.2)
        answers = [
            future.result().json()[0]["0"] for future in [pool.submit(pinned, door, "y", "wide") for _ in range(15)]
        ]
        assert slow.result().status_code == 200
    assert max(int(answer.rsplit("|", 1)[1]) for answer in answers) >= 8
    assert time.monotonic() - began < 10


def test_a_process_that_dies_costs_one_request_and_comes_back(door: httpx.Client) -> None:
    died = pinned(door, "die:9", "green")
    assert (died.status_code, died.headers[STATUS]) == (424, "502")
    down = pinned(door, "x", "green")
    assert down.status_code == 503
    assert "no running container at the moment" in down.json()["error"]["message"]
    until(lambda: pinned(door, "x", "green").status_code, lambda status: status == 200)


def test_the_endpoint_describes_itself(door: httpx.Client) -> None:
    document = door.get("/swagger.json").json()
    assert list(document["paths"]) == ["/score"]
    assert document["servers"][0]["url"] == str(door.base_url).rstrip("/")
    assert door.get("/swagger.json", headers={"Authorization": "Bearer wrong"}).status_code == 401
