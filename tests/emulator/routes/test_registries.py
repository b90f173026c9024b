"""Registries through the unmodified SDK, in both ways to point it at the emulator, and over the raw interface."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from phi_assets.emulator.process import Connection
from tests.emulator import testing_registry
from tests.emulator.http import arm_client, raw_client, token

ENV_SCRIPT = """
import os
from pathlib import Path
from azure.ai.ml import Input, MLClient, dsl
from azure.identity import DefaultAzureCredential

credential = DefaultAzureCredential()
registry = MLClient(credential, registry_name="azureml")
model = registry.models.get("Phi-3-mini-4k-instruct", label="latest")
component = registry.components.get("chat_completion_pipeline", label="latest")
versions = [each.version for each in registry.models.list("Phi-3-mini-4k-instruct")]

two_copies = MLClient(credential, registry_name="testing").components.get("two_copies", label="latest")
Path("hello.txt").write_text("hello")

@dsl.pipeline(name="by environment")
def create():
    return {"answer": two_copies(source=Input(type="uri_file", path="hello.txt")).outputs.result}

names = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZURE_ML_WORKSPACE")
workspace = MLClient(credential, *(os.environ[name] for name in names))
job = workspace.jobs.create_or_update(create())
workspace.jobs.stream(job.name)
completed = workspace.jobs.get(job.name).status == "Completed"
print(model.version, versions, component.version, len(component.inputs), completed)
"""


@pytest.fixture(scope="module")
def registries(emulator: Connection, workspace) -> Any:
    testing_registry.install(emulator.directory)
    return workspace.registry


@pytest.fixture(scope="module")
def raw(emulator: Connection) -> Iterator[httpx.Client]:
    testing_registry.install(emulator.directory)
    with raw_client(emulator) as client:
        client.headers["Authorization"] = f"Bearer {token(emulator)}"
        client.base_url = httpx.URL(
            f"{emulator.base_url}/mferp/managementfrontend/subscriptions/{emulator.subscription_id}/resourceGroups/"
            f"{emulator.resource_group}/providers/Microsoft.MachineLearningServices/registries"
        )
        yield client


def test_registries_answer_without_the_headers_of_the_management_plane(raw: httpx.Client, emulator: Connection) -> None:
    """As recorded. The management plane repeats the correlation id that a client has chosen."""
    mine = {"x-ms-correlation-request-id": "11111111-2222-4333-8444-555555555555"}
    registry = raw.get("/azureml/models/Phi-3-mini-4k-instruct/versions", headers=mine).raise_for_status()
    assert not [name for name in registry.headers if "correlation" in name or "ratelimit" in name]
    assert registry.headers["x-ms-response-type"] == "standard"
    with arm_client(emulator) as client:
        management = client.get("/computes", headers=mine)
        assert management.headers.items() >= mine.items()
        assert client.get("/computes/nobody").headers["x-ms-response-type"] == "error"


class TestSdk:
    def test_latest_model(self, registries) -> None:
        model = registries("azureml").models.get("Phi-3-mini-4k-instruct", label="latest")
        assert model.version == "15"
        assert model.id == "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
        assert "Standard_ND40rs_v2" in ast.literal_eval(model.tags["finetune_compute_allow_list"])
        assert ast.literal_eval(model.tags["model_specific_defaults"])["num_train_epochs"] == 1
        assert model.properties["finetuning-tasks"] == "chat-completion"
        assert model.type == "mlflow_model"

    def test_a_version_of_a_model(self, registries) -> None:
        client = registries("azureml")
        assert client.models.get("Phi-3-mini-4k-instruct", version="13").version == "13"
        assert [model.version for model in client.models.list("Phi-3-mini-4k-instruct")] == ["15", "13"]
        assert [model.name for model in client.models.list()] == ["Phi-3-mini-4k-instruct"]

    def test_flavors_are_read_from_the_files(self, registries) -> None:
        model = registries("testing").models.get("tiny", version="10")
        assert model.flavors == {"python_function": {"loader_module": "tiny", "python_version": "3.11.0"}}

    @pytest.mark.parametrize("version", [{"label": "latest"}, {"version": "0.0.82"}])
    def test_the_pipeline_component(self, registries, version: dict[str, str]) -> None:
        component = registries("azureml").components.get("chat_completion_pipeline", **version)
        assert component.version == "0.0.82"
        assert len(component.inputs) == 69
        assert component.inputs["num_train_epochs"].default == 1
        assert component.inputs["deepspeed_stage"].enum == ["2", "3"]
        assert component.inputs["huggingface_id"].optional
        assert not component.inputs["task_name"].optional
        assert set(component.outputs) == {"pytorch_model_folder", "mlflow_model_folder"}
        assert "chat_completion_finetune" in component.jobs

    def test_latest_is_by_creation_time(self, registries) -> None:
        assert registries("testing").components.get("copy_file", label="latest").version == "1"

    def test_an_included_component(self, registries) -> None:
        component = registries("including").components.get("copy_file", version="1")
        assert component.id == "azureml://registries/including/components/copy_file/versions/1"

    def test_the_registry_of_2026(self, registries) -> None:
        from azure.ai.ml.exceptions import ValidationException

        models = registries("azureml-2026").models
        assert models.get("Phi-4", label="latest").version == "8"
        assert "finetune_compute_allow_list" not in models.get("Phi-3-mini-4k-instruct", version="15").tags
        # An archived model is no answer to "latest".
        with pytest.raises(ValidationException, match="does not exist in registry"):
            models.get("Phi-3-mini-4k-instruct", label="latest")
        # The SDK's entity has no place for it, its operations have.
        answer = models._get("Phi-4", "8")
        assert (
            "Standard_ND96isr_H100_v5" in answer.properties["systemMetadata"]["supportedComputes"]["finetuneComputes"]
        )

    def test_what_is_not_there(self, registries) -> None:
        from azure.ai.ml.exceptions import ValidationException
        from azure.core.exceptions import ResourceNotFoundError

        client = registries("azureml")
        with pytest.raises(ValidationException, match="does not exist in registry azureml"):
            client.models.get("nobody", label="latest")
        with pytest.raises(ResourceNotFoundError) as caught:
            client.models.get("Phi-3-mini-4k-instruct", version="99")
        assert caught.value.error is None or "99" in str(caught.value)
        with pytest.raises(ResourceNotFoundError):
            client.components.get("chat_completion_pipeline", version="9.9.9")

    @pytest.mark.slow
    def test_by_environment_variables_only(self, emulator: Connection, registries, tmp_path: Path) -> None:
        environment = {**os.environ, **emulator.environment(os.environ)}
        environment.pop("AZUREML_CURRENT_CLOUD", None)
        done = subprocess.run(
            [sys.executable, "-c", ENV_SCRIPT],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout.splitlines()[-1] == "15 ['15', '13'] 0.0.82 69 True", done.stderr


class TestRaw:
    def test_order_and_top(self, raw: httpx.Client) -> None:
        def versions(**query: str) -> list[str]:
            body = raw.get("/testing/models/tiny/versions", params=query).raise_for_status().json()
            assert "nextLink" not in body
            return [value["id"].rpartition("/")[2] for value in body["value"]]

        assert versions() == ["10", "2"]
        assert versions(**{"$orderBy": "createdtime desc", "$top": "1"}) == ["10"]
        assert versions(**{"$orderBy": "createdtime asc"}) == ["2", "10"]

    def test_a_container(self, raw: httpx.Client) -> None:
        body = raw.get("/azureml/models/Phi-3-mini-4k-instruct").raise_for_status().json()
        assert body["properties"]["latestVersion"] == "15"
        assert body["properties"]["nextVersion"] == "16"

    def test_specs_come_as_text(self, raw: httpx.Client) -> None:
        body = raw.get("/testing/components/two_copies/versions/1").raise_for_status().json()
        assert (body["name"], body["type"]) == ("1", "Microsoft.MachineLearningServices/registries/components/versions")
        spec = body["properties"]["componentSpec"]
        assert "_source" not in spec
        assert spec["inputs"]["rate"] == {
            "type": "number",
            "default": "0.5",
            "min": "0",
            "max": "1",
            "optional": "True",
        }
        assert spec["inputs"]["verbose"]["default"] == "True"
        second = spec["jobs"]["second"]
        assert second["componentId"] == "azureml://registries/testing/components/copy_file/versions/1"
        assert second["computeId"] == "${{parent.inputs.compute_copy}}"
        assert second["type"] == "command"
        assert "compute" not in second
        assert second["inputs"]["times"] == {"job_input_type": "literal", "value": "2"}

    def test_models_are_named_by_their_name(self, raw: httpx.Client) -> None:
        body = raw.get("/testing/models/tiny/versions/2").raise_for_status().json()
        assert (body["name"], body["type"]) == ("tiny", "models")
        assert body["properties"]["tags"] == {"sizes": "['a', 'b']", "defaults": "{'epochs': 1, 'apply': 'true'}"}

    def test_environments(self, raw: httpx.Client) -> None:
        body = raw.get("/azureml/environments/acft-hf-nlp-gpu/versions/112").raise_for_status().json()
        assert body["id"] == "azureml://registries/azureml/environments/acft-hf-nlp-gpu/versions/112"

    def test_archived_models_are_seen_on_request(self, raw: httpx.Client) -> None:
        url = "/azureml-2026/models/Phi-3-mini-4k-instruct/versions"
        counts = {
            view: len(raw.get(url, params={"listViewType": view}).json()["value"]) for view in ("ActiveOnly", "All")
        }
        assert counts == {"ActiveOnly": 0, "All": 1}

    @pytest.mark.parametrize(
        ("path", "detail", "words"),
        [
            ("/azureml/models/nobody", "ModelNotFound", ["nobody", "azureml"]),
            ("/azureml/models/Phi-3-mini-4k-instruct/versions/99", "ModelNotFound", ["99", "15, 13"]),
            ("/nowhere/components/x/versions/1", "ComponentNotFound", ["nowhere"]),
            ("/azureml/environments/x/versions/1", "EnvironmentNotFound", ["x"]),
        ],
    )
    def test_what_is_not_there(self, raw: httpx.Client, path: str, detail: str, words: list[str]) -> None:
        answer = raw.get(path)
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert error["code"] == "UserError"
        assert error["details"][0]["code"] == detail
        assert all(word in error["message"] for word in words)
        assert {info["type"] for info in error["additionalInfo"]} >= {"ComponentName", "InnerError"}

    def test_a_bad_order_is_refused(self, raw: httpx.Client) -> None:
        assert raw.get("/testing/models/tiny/versions", params={"$orderBy": "size"}).status_code == 400

    def test_without_a_token_nothing(self, raw: httpx.Client) -> None:
        assert raw.get("/testing/models", headers={"Authorization": ""}).status_code == 401
