"""A registry's model behind a managed endpoint, deployed by its id as the SDK does it: the base model."""

from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from tests.emulator.serving.conftest import deploy, ml, set_traffic

BASE = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"


@pytest.mark.slow
def test_the_base_model_answers_behind_an_endpoint(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    from azure.ai.ml.entities import OnlineRequestSettings

    deploy(workspace, endpoint, echo, "tuned")
    set_traffic(workspace, endpoint, tuned=100)
    since = control.last_entry()
    settings = OnlineRequestSettings(request_timeout_ms=90_000)
    created = deploy(
        workspace, endpoint, BASE, "base", instance_type="Standard_NC24ads_A100_v4", request_settings=settings
    )
    assert (created.provisioning_state, created.model) == ("Succeeded", BASE)
    assert ml(workspace).online_deployments.get("base", endpoint).model == BASE

    # The SDK looks the model up in its registry, for a default deployment template, and sends the id as it is.
    asked = {
        (entry.method, entry.route, entry.status)
        for entry in control.journal(since)
        if entry.plane in {"arm", "registry"} and "perationsstatus" not in entry.route
    }
    assert {
        ("GET", "/discovery", 200),
        ("GET", "/models/{name}/versions/{version}", 200),
        ("GET", "/onlineendpoints/{endpoint}", 200),
        ("PUT", "/onlineendpoints/{endpoint}/deployments/{name}", 201),
    } <= asked
    assert all(status < 400 for _, _, status in asked)

    question = {
        "input_data": {
            "input_string": [[{"role": "user", "content": "What is the capital of France?"}]],
            "parameters": {"max_new_tokens": 8, "do_sample": False},
        }
    }
    answer = front.post("/score", json=question, headers={"azureml-model-deployment": "base"})
    assert answer.status_code == 200, answer.text
    # A registry's model with `vllm` among its environments is served by the container for foundation models.
    assert list(answer.json()) == ["output"]
    assert answer.json()["output"] not in ("", "None")
    words = [{"role": "user", "content": "the cat and the dog " * 400}]
    long = {"input_data": {"input_string": [words], "parameters": {"max_new_tokens": 8, "do_sample": False}}}
    answer = front.post("/score", json=long, headers={"azureml-model-deployment": "base"})
    assert (answer.status_code, answer.json()) == (200, {"output": "None"})
    assert "the model's context is" in ml(workspace).online_deployments.get_logs("base", endpoint, lines=20)
    # It has no traffic of its own.
    assert {front.post("/score", json=question).headers["azureml-model-deployment"] for _ in range(20)} == {"tuned"}
    storage = ml(workspace).online_deployments.get_logs(
        "base", endpoint, lines=50, container_type="storage-initializer"
    )
    assert f"Resolving the model {BASE}" in storage
    ml(workspace).online_deployments.begin_delete(name="base", endpoint_name=endpoint).wait()
    assert [found.name for found in ml(workspace).online_deployments.list(endpoint)] == ["tuned"]


@pytest.mark.parametrize(
    "model",
    [
        "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/99",
        "azureml://registries/nobodys/models/Phi-3-mini-4k-instruct/versions/15",
    ],
)
def test_a_registry_model_that_is_not_there_is_refused(workspace: Any, endpoint: str, model: str) -> None:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match=r"\(ResourceNotFound\).*does not exist"):
        deploy(workspace, endpoint, model, "base")
    assert list(ml(workspace).online_deployments.list(endpoint)) == []
