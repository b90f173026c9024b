"""Deployments that fail, take long or break down, as the SDK sees them."""

import time
from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from tests.emulator.serving.conftest import deploy, ml, set_traffic, until
from tests.emulator.serving.echo import ask

CODES = [
    "OutOfQuota",
    "ImageBuildFailure",
    "SecretsInjectionError",
    "BadArgument",
    "ResourceNotReady",
    "ResourceNotFound",
    "OperationCanceled",
    "InternalServerError",
]


@pytest.mark.parametrize("code", CODES)
def test_the_operation_fails_with_the_services_code(
    workspace: Any, control: Control, endpoint: str, echo: str, code: str
) -> None:
    from azure.core.exceptions import HttpResponseError

    control.add_scenario("deployment", scenario=code, match=f"{endpoint}/blue")
    with pytest.raises(HttpResponseError, match=rf"\({code}\)"):
        deploy(workspace, endpoint, echo)
    assert ml(workspace).online_deployments.get("blue", endpoint).provisioning_state == "Failed"


def test_what_failed_once_can_be_tried_again(workspace: Any, control: Control, endpoint: str, echo: str) -> None:
    from azure.core.exceptions import HttpResponseError

    control.add_scenario("deployment", scenario="OutOfQuota", match="bl*", message="48 cores are missing")
    with pytest.raises(HttpResponseError, match="48 cores are missing"):
        deploy(workspace, endpoint, echo)
    assert deploy(workspace, endpoint, echo).provisioning_state == "Succeeded"


def test_a_failing_update_leaves_the_old_process_in_service(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    from azure.core.exceptions import HttpResponseError

    deploy(workspace, endpoint, echo)
    set_traffic(workspace, endpoint, blue=100)
    control.add_scenario("deployment", scenario="ImageBuildFailure", match=f"{endpoint}/*")
    with pytest.raises(HttpResponseError, match="ImageBuildFailure"):
        deploy(workspace, endpoint, echo, environment_variables={"A": "B"})
    assert front.post("/score", json=ask("hello")).status_code == 200


def test_an_operation_can_take_longer(workspace: Any, control: Control, endpoint: str, echo: str) -> None:
    control.add_scenario("deployment", scenario="delay", match=f"{endpoint}/blue", seconds=3, exact=True)
    began = time.monotonic()
    deploy(workspace, endpoint, echo)
    assert time.monotonic() - began > 3


@pytest.mark.parametrize("state", ["Failed", "Succeeded"])
def test_a_live_deployment_breaks_down_for_good(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client, state: str
) -> None:
    deploy(workspace, endpoint, echo)
    set_traffic(workspace, endpoint, blue=100)
    assert front.post("/score", json=ask("hello")).status_code == 200
    control.add_scenario("deployment", scenario="unhealthy", match=f"{endpoint}/blue", state=state)
    until(lambda: front.post("/score", json=ask("hello")).status_code, lambda status: status == 503)
    read = ml(workspace).online_deployments.get
    until(lambda: read("blue", endpoint).provisioning_state, lambda found: found == state)
    time.sleep(0.5)  # longer than a process that dies is left alone before it is started again
    assert front.post("/score", json=ask("hello")).status_code == 503
    assert deploy(workspace, endpoint, echo).provisioning_state == "Succeeded"
    assert front.post("/score", json=ask("hello")).status_code == 200


def test_a_deployment_breaks_down_some_time_after_its_creation(
    workspace: Any, control: Control, endpoint: str, echo: str
) -> None:
    control.add_scenario("deployment", scenario="unhealthy", match=f"{endpoint}/blue", seconds=1, exact=True)
    assert deploy(workspace, endpoint, echo).provisioning_state == "Succeeded"
    read = ml(workspace).online_deployments.get
    until(lambda: read("blue", endpoint).provisioning_state, lambda found: found == "Failed")
