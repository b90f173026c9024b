"""Online deployments through the SDK: what they become, what is refused, and what is said when they fail."""

import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.emulator.serving.conftest import Register, deploy, ml, set_traffic, until
from tests.emulator.serving.echo import ask
from tests.emulator.serving.test_endpoints import arm

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace


def entity(endpoint: str, model: str, name: str = "blue", **settings: Any) -> Any:
    from azure.ai.ml.entities import ManagedOnlineDeployment

    wanted = {"instance_type": "Standard_DS3_v2", "instance_count": 1} | settings
    return ManagedOnlineDeployment(name=name, endpoint_name=endpoint, model=model, **wanted)


def answer(front: httpx.Client, text: str, deployment: str = "blue") -> str:
    response = front.post("/score", json=ask(text), headers={"azureml-model-deployment": deployment})
    assert response.status_code == 200, response.text
    return response.json()[0]["0"]


def test_the_seeds_deployment(workspace: "Workspace", endpoint: str, echo: str, tmp_path: Any) -> None:
    """Create, read, traffic, invoke and logs with the calls and settings of the notebook this project began from."""
    import json

    from azure.ai.ml.entities import OnlineRequestSettings, ProbeSettings

    wanted = entity(
        endpoint,
        echo,
        "demo",
        instance_type="Standard_NC6s_v3",
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90000),
    )
    poller = ml(workspace).online_deployments.begin_create_or_update(wanted)
    assert ml(workspace).online_deployments.get("demo", endpoint).provisioning_state == "Creating"
    created = poller.result()
    assert created.provisioning_state == "Succeeded"
    assert created.model == echo
    assert (created.instance_type, created.instance_count) == ("Standard_NC6s_v3", 1)
    assert created.scale_settings.type == "default"
    assert (created.liveness_probe.initial_delay, created.liveness_probe.period) == (600, 10)
    assert (created.readiness_probe.initial_delay, created.readiness_probe.failure_threshold) == (10, 30)
    assert created.request_settings.request_timeout_ms == 90000
    assert created.request_settings.max_concurrent_requests_per_instance == 1
    assert [found.name for found in ml(workspace).online_deployments.list(endpoint)] == ["demo"]

    assert set_traffic(workspace, endpoint, demo=100).traffic == {"demo": 100}
    request = tmp_path / "sample_score.json"
    request.write_text(json.dumps(ask("Hi", temperature=0.6, top_p=0.9, do_sample=True, max_new_tokens=200)))
    text = ml(workspace).online_endpoints.invoke(endpoint, deployment_name="demo", request_file=str(request))
    assert json.loads(text) == [{"0": "echo|Hi|1"}]

    server = ml(workspace).online_deployments.get_logs("demo", endpoint, lines=100)
    assert "the echo model is loading" in server
    assert "POST /score 200" in server
    assert len(ml(workspace).online_deployments.get_logs("demo", endpoint, lines=2).splitlines()) == 2
    storage = ml(workspace).online_deployments.get_logs(
        "demo", endpoint, lines=100, container_type="storage-initializer"
    )
    assert f"Resolving the model {echo}" in storage
    assert "3 files" in storage


@pytest.mark.slow
def test_a_model_that_crashes_fails_the_deployment_with_its_log(
    workspace: "Workspace", endpoint: str, register: Register
) -> None:
    from azure.core.exceptions import HttpResponseError

    model = register("x", crash="the weights are not finite")
    with pytest.raises(HttpResponseError) as failed:
        deploy(workspace, endpoint, model)
    assert "(ResourceNotReady)" in str(failed.value)
    assert "RuntimeError: the weights are not finite" in str(failed.value)
    found = ml(workspace).online_deployments.get("blue", endpoint)
    assert found.provisioning_state == "Failed"
    assert "the weights are not finite" in ml(workspace).online_deployments.get_logs("blue", endpoint, lines=50)
    with pytest.raises(HttpResponseError, match="in Failed provisioning state"):
        set_traffic(workspace, endpoint, blue=100)
    good = register("good")
    assert deploy(workspace, endpoint, good).provisioning_state == "Succeeded"


def test_a_model_that_never_gets_ready_fails_when_patience_ends(
    workspace: "Workspace", endpoint: str, register: Register
) -> None:
    from azure.ai.ml.entities import ProbeSettings
    from azure.core.exceptions import HttpResponseError

    impatient = ProbeSettings(initial_delay=1, period=1, failure_threshold=2)
    with pytest.raises(HttpResponseError, match=r"\(ResourceNotReady\).*did not succeed within 3 seconds"):
        deploy(
            workspace,
            endpoint,
            register("x", load_seconds=600),
            liveness_probe=impatient,
            readiness_probe=impatient,
        )
    assert ml(workspace).online_deployments.get("blue", endpoint).provisioning_state == "Failed"


def test_deleting_the_endpoint_ends_a_deployment_that_is_starting(workspace: "Workspace", register: Register) -> None:
    from azure.core.exceptions import HttpResponseError

    from tests.emulator.serving.test_endpoints import new_endpoint

    wanted = new_endpoint()
    ml(workspace).online_endpoints.begin_create_or_update(wanted).wait()
    slow = register("x", load_seconds=600)
    poller = ml(workspace).online_deployments.begin_create_or_update(entity(wanted.name, slow))
    until(
        lambda: ml(workspace).online_deployments.get_logs("blue", wanted.name, lines=10),
        lambda log: "the echo model is loading" in log,
    )
    ml(workspace).online_endpoints.begin_delete(wanted.name).wait()
    with pytest.raises(HttpResponseError, match="OperationCanceled"):
        poller.result()
    assert arm(workspace, "GET", f"/{wanted.name}").status_code == 404


@pytest.mark.slow
def test_an_update_replaces_the_process_without_losing_a_request(
    workspace: "Workspace", endpoint: str, front: httpx.Client, echo: str, register: Register
) -> None:
    deploy(workspace, endpoint, echo)
    before = answer(front, "pid:")
    ended = threading.Event()
    heard: list[str] = []

    def ask_on() -> None:
        while not ended.is_set():
            heard.append(answer(front, "hello"))

    asking = threading.Thread(target=ask_on)
    asking.start()
    deploy(workspace, endpoint, register("second"))
    until(lambda: heard[-1], lambda last: last == "second|hello|1")
    ended.set()
    asking.join()
    assert set(heard) == {"echo|hello|1", "second|hello|1"}
    assert answer(front, "pid:") != before


def test_new_settings_need_no_new_process(
    workspace: "Workspace", endpoint: str, front: httpx.Client, echo: str
) -> None:
    from azure.ai.ml.entities import OnlineRequestSettings

    deploy(workspace, endpoint, echo)
    before = answer(front, "pid:")
    settings = OnlineRequestSettings(request_timeout_ms=1000)
    updated = deploy(workspace, endpoint, echo, request_settings=settings, instance_count=3, tags={"a": "b"})
    assert (updated.instance_count, updated.tags) == (3, {"a": "b"})
    assert answer(front, "pid:") == before
    assert front.post("/score", json=ask("sleep:2"), headers={"azureml-model-deployment": "blue"}).status_code == 408
    assert arm(workspace, "PATCH", f"/{endpoint}/deployments/blue", {"sku": {"capacity": 2}}).status_code == 202
    until(lambda: ml(workspace).online_deployments.get("blue", endpoint).instance_count, lambda count: count == 2)


@pytest.mark.slow
def test_a_failed_update_leaves_the_old_process_serving(
    workspace: "Workspace", endpoint: str, front: httpx.Client, echo: str, register: Register
) -> None:
    from azure.core.exceptions import HttpResponseError

    deploy(workspace, endpoint, echo)
    with pytest.raises(HttpResponseError, match="ResourceNotReady"):
        deploy(workspace, endpoint, register("x", crash="no"))
    assert ml(workspace).online_deployments.get("blue", endpoint).provisioning_state == "Failed"
    assert answer(front, "still there") == "echo|still there|1"


def test_its_variables_reach_the_model(workspace: "Workspace", endpoint: str, front: httpx.Client, echo: str) -> None:
    deploy(workspace, endpoint, echo, environment_variables={"GREETING": "hello"})
    assert answer(front, "environment:GREETING") == "hello"
    assert answer(front, "environment:IDENTITY_HEADER") == ""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": "azureml:nothing:1"}, "Model 'nothing:1' was not found"),
        ({"model": "azureml://registries/azureml/models/nothing/versions/1"}, "nothing"),
        ({"instance_type": "Standard_Imaginary"}, "instance type 'Standard_Imaginary' is not known"),
        ({"instance_count": 51}, "whole number from 1 to 50"),
        ({"name": "double--dash"}, "not a valid deployment name"),
    ],
)
def test_what_the_service_refuses_is_not_created(
    workspace: "Workspace", endpoint: str, echo: str, settings: dict[str, Any], reason: str
) -> None:
    body = {
        "location": "emulator",
        "sku": {"name": "Default", "capacity": settings.get("instance_count", 1)},
        "properties": {
            "endpointComputeType": "Managed",
            "model": settings.get("model", echo),
            "instanceType": settings.get("instance_type", "Standard_DS3_v2"),
        },
    }
    refused = arm(workspace, "PUT", f"/{endpoint}/deployments/{settings.get('name', 'blue')}", body)
    assert refused.status_code in (400, 404)
    assert reason in refused.json()["error"]["message"]
    assert list(ml(workspace).online_deployments.list(endpoint)) == []


def test_a_timeout_above_the_services_limit_is_refused(workspace: "Workspace", endpoint: str, echo: str) -> None:
    from azure.ai.ml.entities import OnlineRequestSettings
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match="at most 180 seconds, not 181"):
        deploy(workspace, endpoint, echo, request_settings=OnlineRequestSettings(request_timeout_ms=181_000))


def test_a_deployment_needs_its_endpoint_and_an_mlflow_model(
    workspace: "Workspace", endpoint: str, tmp_path: Any
) -> None:
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    (tmp_path / "weights.bin").write_bytes(b"0")
    custom = ml(workspace).models.create_or_update(Model(name="not-mlflow", path=str(tmp_path), type="custom_model"))
    with pytest.raises(HttpResponseError, match=r"\(BadArgument\).*not an MLflow model"):
        deploy(workspace, endpoint, str(custom.id))
    with pytest.raises(ResourceNotFoundError):
        deploy(workspace, "nothing-here", str(custom.id))
    with pytest.raises(ResourceNotFoundError):
        ml(workspace).online_deployments.get("green", endpoint)
    assert arm(workspace, "DELETE", f"/{endpoint}/deployments/green").status_code == 204
    logs = arm(workspace, "POST", f"/{endpoint}/deployments/blue/getLogs", {"containerType": "Sidecar"})
    assert logs.status_code == 400
