"""Models that do wrong while their deployment is healthy, or do not get as far as that."""

from collections import Counter
from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control, ControlError
from phi_assets.emulator.serving.inference.behaviour import Behaviour, junk, misbehave
from tests.emulator.serving.conftest import Register, deploy, ml
from tests.emulator.serving.echo import ask

STATUS, REASON = "ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"


def score(front: httpx.Client, *texts: str, deployment: str = "blue") -> httpx.Response:
    return front.post("/score", json=ask(*texts), headers={"azureml-model-deployment": deployment})


def answers(front: httpx.Client, *texts: str) -> list[str]:
    response = score(front, *texts)
    assert response.status_code == 200, response.text
    return [answer["0"] for answer in response.json()]


def test_garbage_and_empty_answers_concern_the_next_process_of_that_name(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client, register: Register
) -> None:
    control.add_scenario("deployment", scenario="garbage", match=f"{endpoint}/bl*")
    control.add_scenario("deployment", scenario="empty", match="green")
    deploy(workspace, endpoint, echo)
    first, second = answers(front, "one", "two")
    assert first != second, "each conversation has junk of its own"
    assert len(first.split()) > 30
    assert len(set(first.split())) <= 3
    assert answers(front, "one") == [first]
    # Another model is another process, and the scenario was for one.
    deploy(workspace, endpoint, register("sound"))
    assert answers(front, "one") == ["sound|one|1"]
    deploy(workspace, endpoint, echo, "green")
    assert score(front, "one", "two", deployment="green").json() == [{"0": ""}, {"0": ""}]


def test_a_live_model_goes_wrong_at_once_and_recovers_when_cleared(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    deploy(workspace, endpoint, echo)
    assert answers(front, "x") == ["echo|x|1"]
    control.add_scenario("deployment", scenario="empty", match=f"{endpoint}/blue")
    assert answers(front, "x") == [""]
    control.clear_scenarios()
    assert answers(front, "x") == ["echo|x|1"]


def test_a_model_that_fails_is_424_and_its_log_has_the_traceback(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    deploy(workspace, endpoint, echo)
    match = f"{endpoint}/blue"
    control.add_scenario(
        "deployment", scenario="model_error", match=match, every=3, requests=2, status=503, message="out of memory: ñ"
    )
    found = [score(front, "x") for _ in range(12)]
    assert [number for number, answer in enumerate(found, 1) if answer.status_code == 424] == [3, 6]
    assert Counter(answer.status_code for answer in found) == {200: 10, 424: 2}
    assert found[2].headers[STATUS] == "503"
    assert "out of memory" in found[2].headers[REASON]
    log = ml(workspace).online_deployments.get_logs("blue", endpoint, lines=100)
    assert "Traceback" in log
    assert "Misbehaved: out of memory: ñ" in log
    assert "POST /score 503" in log


def test_a_slow_model_runs_into_the_request_timeout(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    from azure.ai.ml.entities import OnlineRequestSettings

    deploy(workspace, endpoint, echo, request_settings=OnlineRequestSettings(request_timeout_ms=2000))
    control.add_scenario("deployment", scenario="slow", match=f"{endpoint}/blue", seconds=600, requests=1, exact=True)
    assert score(front, "x").status_code == 408


def test_slow_is_a_multiple_of_the_models_own_time() -> None:
    import time

    def predict() -> list[str]:
        time.sleep(0.05)
        return ["a", "b"]

    began = time.monotonic()
    assert misbehave(Behaviour(factor=4, seconds=0.1), [], predict) == ["a", "b"]
    assert time.monotonic() - began >= 0.3
    assert Behaviour.from_header("") is None
    behaviour = Behaviour(factor=2, answers="empty", error_status=500, error_message="søster")
    assert behaviour.header().isascii()
    assert Behaviour.from_header(behaviour.header()) == behaviour
    assert junk([{"role": "user", "content": "a"}]) != junk([{"role": "user", "content": "b"}])


def test_a_model_that_crashes_at_load_fails_the_deployment_once(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    from azure.core.exceptions import HttpResponseError

    control.add_scenario("deployment", scenario="crash_at_load", match=f"{endpoint}/blue", message="shard 3 is cut off")
    with pytest.raises(HttpResponseError, match=r"\(ResourceNotReady\)") as failed:
        deploy(workspace, endpoint, echo)
    assert "RuntimeError: shard 3 is cut off" in str(failed.value)
    deployments = ml(workspace).online_deployments
    assert deployments.get("blue", endpoint).provisioning_state == "Failed"
    assert "RuntimeError: shard 3 is cut off" in deployments.get_logs("blue", endpoint, lines=50)
    assert score(front, "x").status_code == 404
    assert deploy(workspace, endpoint, echo).provisioning_state == "Succeeded"
    assert answers(front, "x") == ["echo|x|1"]


@pytest.mark.parametrize("wrong", [{"scenario": "slow", "factor": 0.5}, {"scenario": "garbage", "every": 0}])
def test_what_makes_no_sense_is_refused(control: Control, wrong: dict[str, Any]) -> None:
    with pytest.raises(ControlError, match="This is no scenario"):
        control.add_scenario("deployment", **wrong)
