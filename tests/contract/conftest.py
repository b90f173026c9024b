"""One small thing of each kind, made once by the SDK, and everything that went over the wire meanwhile."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.training.data import ensure_data_asset
from phi_assets.azureml.training.pipelines import build_pipeline
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml.toy_step import write_model
from tests.azureml.toys import SIZE, make_request
from tests.contract.exchanges import Exchange, Exchanges, observed
from tests.contract.shapes import Operation
from tests.emulator.http import token, workspace_path

_CLUSTER, _DATA, _ENVIRONMENT, _MODEL, _ENDPOINT = (
    "contract-cluster",
    "contract-data",
    "contract-environment",
    "contract-model",
    "contract-endpoint",
)
_MODEL_OF_NOBODY = "contract-model-of-nobody"
_COMPONENT, _COMMAND_JOB = "contract_component", "contract-command"
_JOB, _CANCELED_JOB, _REFUSED_JOB = "contract-job", "contract-canceled-job", "contract-refused-job"
_COMPONENT_YAML = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json",
    "name": _COMPONENT,
    "version": "1",
    "type": "command",
    "display_name": "a component",
    "description": "of the contract",
    "tags": {"a": "b"},
    "inputs": {
        "rows": {"type": "uri_folder", "optional": True, "description": "a folder"},
        "times": {"type": "number", "default": 2, "description": "how often"},
    },
    "outputs": {"target": {"type": "uri_folder", "mode": "rw_mount"}},
    "code": "rows",
    "environment": {"image": "mcr.example/one"},
    "command": "echo ${{inputs.times}} ${{outputs.target}} $[[${{inputs.rows}}]]",
}


@dataclass(frozen=True)
class Conversation:
    """What was said, and what the placeholders of the recorded paths stand for in it."""

    exchanges: Exchanges
    names: Mapping[str, Collection[str]]

    def last(self, operation: Operation) -> Exchange | None:
        """The last exchange of a recorded operation, None if it was not made."""
        pattern = re.escape(operation.path)
        for placeholder, names in self.names.items():
            pattern = pattern.replace(re.escape(f"{{{placeholder}}}"), f"({'|'.join(map(re.escape, names))})")
        return self.exchanges.last(operation.method, pattern, operation.status)


@pytest.fixture(scope="session")
def conversation(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Conversation:
    """A job with what it needs, a model, an environment, code and an endpoint: made, read, changed and deleted."""
    folder = tmp_path_factory.mktemp("contract")
    with Control(emulator) as control:
        # A list with what other tests have made would have more than a page.
        control.reset()
    with observed() as exchanges, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # outside a git repository, whose address the SDK would send
        speaker = _Speaker(emulator, toys, exchanges, folder)
        names = {"sub": emulator.subscription_id, "rg": emulator.resource_group, "ws": emulator.workspace_name}
        names |= {"location": "emulator", "datastore": "workspaceblobstore"}
        names |= speaker.assets() | speaker.cluster() | speaker.endpoint() | speaker.command_job()
        names |= speaker.canceled_job() | speaker.completed_job()
    jobs = (_JOB, _CANCELED_JOB, _REFUSED_JOB, speaker.group)
    several = {"job": jobs, "model": (_MODEL, _MODEL_OF_NOBODY)}
    return Conversation(exchanges, {placeholder: [name] for placeholder, name in names.items()} | several)


class _Speaker:
    def __init__(self, emulator: Connection, ws: Workspace, exchanges: Exchanges, folder: Path) -> None:
        from azure.ai.ml import entities

        self._emulator = emulator
        self._ws = ws
        self._ml: Any = ws.ml
        self._exchanges = exchanges
        self._folder = folder
        self._entities: Any = entities
        self.group = ""
        """Run id of the completed job's one pipeline node."""

    def assets(self) -> dict[str, str]:
        """Data, a model, an environment and code."""
        self._ask("GET", "/discovery")  # the SDK asks once for each client, which others may have used before
        self._ml.workspaces.get(self._emulator.workspace_name)
        self._ml.datastores.get_default()
        rows = self._folder / "rows"
        rows.mkdir()
        (rows / "rows.jsonl").write_text("{}\n")
        self._ml.data.create_or_update(self._entities.Data(name=_DATA, type="uri_folder", path=str(rows)))
        list(self._ml.data.list(_DATA))
        data = {"name": _DATA, "type": "uri_folder", "path": str(rows), "description": "rows"}
        self._ml.data.create_or_update(self._entities.Data(**data, version="2"))
        self._ml.data.get(_DATA, "2")
        self._ml.data.create_or_update(self._entities.Data(**data))  # the container says which version is the next
        write_model(self._folder / "model", "contract: ")
        model = self._entities.Model(
            name=_MODEL, version="1", type="mlflow_model", path=str(self._folder / "model"), description="a model"
        )
        self._ml.models.create_or_update(model)
        self._ml.models.get(_MODEL, "1")
        list(self._ml.models.list(_MODEL))
        self._ml.models._get_latest_version(_MODEL)
        for name in (_MODEL, _MODEL_OF_NOBODY):
            self._ask("GET", f"{workspace_path(self._emulator)}/models/{name}")
        conda = self._folder / "conda.yaml"
        conda.write_text("dependencies: [python=3.11]\n")
        self._ml.environments.create_or_update(
            self._entities.Environment(name=_ENVIRONMENT, version="1", image="mcr.example/one", conda_file=str(conda))
        )
        self._ml.environments.get(_ENVIRONMENT, "1")
        code = self._ml._code.create_or_update(self._entities._assets._artifacts.code.Code(path=str(rows)))
        code_name, version = str(code.id).split("/")[-3::2]
        self._again(self._made("PUT", f"codes/{code_name}/versions/{version}", 201))
        return {
            "data": _DATA,
            "data_version": "2",
            "version": "1",
            "environment": _ENVIRONMENT,
            "environment_version": "1",
            "code": code_name,
            "code_version": version,
        }

    def cluster(self) -> dict[str, str]:
        """A cluster, which is deleted again."""
        cluster = self._entities.AmlCompute(name=_CLUSTER, size=SIZE, max_instances=2, idle_time_before_scale_down=120)
        self._ml.begin_create_or_update(cluster).result()
        self._ml.compute.get(_CLUSTER)
        self._ml.compute.begin_delete(_CLUSTER).wait()
        made = self._made("PUT", f"computes/{_CLUSTER}", 201)
        operation = made.headers["Azure-AsyncOperation"].partition("?")[0].rpartition("/")[2]
        return {"compute": _CLUSTER, "compute_operation_id": operation}

    def command_job(self) -> dict[str, str]:
        """A single command job, and a component of the workspace."""
        from azure.ai.ml import Input, command, load_component

        job: Any = command(
            name=_COMMAND_JOB,
            command="echo ${{inputs.rows}}",
            inputs={"rows": Input(type="uri_file", path=str(self._folder / "rows" / "rows.jsonl"))},
            environment=self._entities.Environment(image="mcr.example/one"),
            compute="serverless",
        )
        self._ml.jobs.create_or_update(job)
        self._ml.jobs.stream(_COMMAND_JOB)
        self._ml.jobs.get(_COMMAND_JOB)
        (self._folder / "component.yaml").write_text(yaml.safe_dump(_COMPONENT_YAML))
        self._ml.components.create_or_update(load_component(str(self._folder / "component.yaml")))
        list(self._ml.components.list())
        list(self._ml.components.list(_COMPONENT))
        self._ml.components.get(_COMPONENT, "1")
        return {"command_job": _COMMAND_JOB, "component": _COMPONENT, "component_version": "1"}

    def canceled_job(self) -> dict[str, str]:
        """A job that waits for a file that never comes, and is canceled."""
        self._submit(_CANCELED_JOB, gate=str(self._folder / "never"))
        self._ml.jobs.begin_cancel(_CANCELED_JOB).wait()
        canceled = self._made("POST", f"jobs/{_CANCELED_JOB}/cancel", 202)
        return {"result_operation_id": canceled.headers["Location"].partition("?")[0].rpartition("/")[2]}

    def completed_job(self) -> dict[str, str]:
        """A job that completes; sent again, it is refused in some forms."""
        self._submit(_JOB)
        made = self._made("PUT", f"jobs/{_JOB}", 201)
        self._again(made)
        self._again(made, _REFUSED_JOB, jobType="Nonsense")
        self._again(made, _REFUSED_JOB, user_token="")
        missing = {"lost": {"type": "pipeline", "componentId": "azureml://registries/toys/components/no/versions/1"}}
        self._again(made, _REFUSED_JOB, jobs=missing)
        self._ml.jobs.stream(_JOB)
        with suppress(AzureError):
            self._ml.jobs.begin_cancel(_JOB)
        (group,) = self._ml.jobs.list(parent_job_name=_JOB)
        self.group = group.name
        (step,) = self._ml.jobs.list(parent_job_name=group.name)
        self._ml.jobs.get(step.name)
        self._ml.jobs.download(_JOB, output_name="trained_model", download_path=str(self._folder / "down"))
        assert self._ml.jobs.get(_JOB).status == "Completed"
        return {"child_job": step.name}

    def endpoint(self) -> dict[str, str]:
        """An endpoint, which is deleted again."""
        endpoint = self._entities.ManagedOnlineEndpoint(name=_ENDPOINT, auth_mode="key")
        self._ml.begin_create_or_update(endpoint).result()
        self._ml.online_endpoints.begin_delete(_ENDPOINT).wait()
        made = self._made("PUT", f"onlineEndpoints/{_ENDPOINT}", 201)
        return {"mfe_operation_id": made.headers["Azure-AsyncOperation"].partition("?")[0].rpartition("/")[2]}

    def _submit(self, name: str, **parameters: Any) -> None:
        """A pipeline job as the graph builds it, but not told where its output is to lie: so it was recorded."""
        folder = self._folder / name
        folder.mkdir()
        request = make_request(self._ws, folder, **parameters)
        data = {use: ensure_data_asset(self._ws, name, sample).id for use, sample in request.samples.items()}
        job: Any = build_pipeline(
            request.component,
            model_id=request.model.id,
            compute_name=request.compute.name,
            gpus=request.compute.gpus,
            train_data=data["train"],
            validation_data=data["validation"],
            test_data=data["test"],
            parameters=request.parameters,
            title="contract",
        )
        job.name = name
        job.description = "a job of the contract"
        job.compute = request.compute.name
        self._ml.jobs.create_or_update(job, experiment_name="contract")

    def _made(self, method: str, path: str, status: int) -> Exchange:
        found = self._exchanges.last(method, re.escape(f"{workspace_path(self._emulator)}/{path}"), status)
        assert found is not None, f"nobody asked {method} {path} and got {status}"
        return found

    def _again(self, made: Exchange, name: str | None = None, user_token: str | None = None, **changed: Any) -> None:
        """The same PUT, if need be of another name, with another token of its user, or with changed properties."""
        path = made.path if name is None else f"{made.path.rpartition('/')[0]}/{name}"
        token_of_user = token(self._emulator) if user_token is None else user_token
        body = made.sent | {"properties": made.sent["properties"] | changed}
        self._ask("PUT", path, json=body, headers={"x-azureml-token": token_of_user})

    def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> None:
        sent = {"Authorization": f"Bearer {token(self._emulator)}", **(headers or {})}
        url, trust = f"{self._emulator.base_url}{path}", str(self._emulator.ca_bundle)
        requests.request(method, url, headers=sent, verify=trust, timeout=30, **options)
