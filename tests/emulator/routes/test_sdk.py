"""The unmodified azure-ai-ml SDK on the emulator's workspace: computes, data, models, environments."""

import base64
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.emulator.http import arm_client, datastore_sas, raw_client
from tests.emulator_requests import Requests

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace


@pytest.fixture
def ml(workspace: "Workspace") -> Any:
    """The client; untyped, because the SDK's annotations name every class that a call might return."""
    return workspace.ml


@pytest.fixture
def container(emulator: Connection, workspace: "Workspace") -> Iterator[ContainerClient]:
    url, sas = datastore_sas(emulator)
    with ContainerClient.from_container_url(f"{url}?{sas}", connection_verify=str(emulator.ca_bundle)) as client:
        yield client


def entities() -> Any:
    from azure.ai.ml import entities

    return entities


def blob_writes(requests: Requests) -> list[str]:
    return [line for line in requests.writes if ".blob." in line]


def test_workspace(ml: Any, emulator: Connection):
    found = ml.workspaces.get(emulator.workspace_name)
    assert found.location == "emulator"
    assert found.discovery_url == f"{emulator.base_url}/discovery"
    assert found.mlflow_tracking_uri.startswith(f"azureml://127.0.0.1:{emulator.port}/mlflow/v1.0/subscriptions/")
    assert [workspace.name for workspace in ml.workspaces.list()] == [emulator.workspace_name]


def test_the_ssh_settings_of_a_cluster_are_kept_but_for_the_password(ml: Any, emulator: Connection):
    ssh = entities().AmlComputeSshSettings(admin_username="me", admin_password="se-cret-1", ssh_key_value="ssh-rsa A")
    wanted = entities().AmlCompute(
        name="with-ssh", size="Standard_DS3_v2", ssh_settings=ssh, ssh_public_access_enabled=True
    )
    ml.compute.begin_create_or_update(wanted).result()
    found = ml.compute.get("with-ssh")
    kept = found.ssh_settings
    assert (kept.admin_username, kept.ssh_key_value, kept.admin_password) == ("me", "ssh-rsa A", None)
    assert found.ssh_public_access_enabled is True
    ml.compute.begin_create_or_update(wanted).result()  # the same once more
    for path in (emulator.directory / "state.sqlite", emulator.directory / "state.sqlite-wal"):
        assert b"se-cret-1" not in path.read_bytes()
    ml.compute.begin_delete("with-ssh").wait()


def test_compute_life(ml: Any):
    with pytest.raises(ResourceNotFoundError):
        ml.compute.get("sdk-cluster")
    wanted = entities().AmlCompute(
        name="sdk-cluster",
        size="Standard_NC24ads_A100_v4",
        tier="LowPriority",
        max_instances=2,
        idle_time_before_scale_down=300,
    )
    poller = ml.begin_create_or_update(wanted)
    assert ml.compute.get("sdk-cluster").provisioning_state == "Creating"
    made = poller.result()
    assert (made.provisioning_state, made.size, made.tier) == ("Succeeded", "STANDARD_NC24ADS_A100_V4", "low_priority")
    assert (made.min_instances, made.max_instances, made.idle_time_before_scale_down) == (0, 2, 300)
    assert "sdk-cluster" in [compute.name for compute in ml.compute.list()]
    made.max_instances = 4
    assert ml.compute.begin_update(made).result().max_instances == 4
    ml.compute.begin_delete("sdk-cluster").wait()
    with pytest.raises(ResourceNotFoundError):
        ml.compute.get("sdk-cluster")


def test_unknown_size_is_refused_as_the_service_does(ml: Any):
    with pytest.raises(HttpResponseError) as caught:
        ml.begin_create_or_update(entities().AmlCompute(name="sdk-none", size="Standard_Nothing")).result()
    assert caught.value.status_code == 400
    assert caught.value.error is not None
    assert caught.value.error.code == "UserError"
    assert "Standard_Nothing" in caught.value.message


def test_sizes_tell_the_gpus(ml: Any):
    gpus = {size.name: size.gpus for size in ml.compute.list_sizes()}
    assert gpus["Standard_NC24ads_A100_v4"] == 1
    assert gpus["Standard_NC48ads_A100_v4"] == 2
    assert gpus["Standard_NC96ads_A100_v4"] == 4
    assert gpus["Standard_ND96amsr_A100_v4"] == gpus["Standard_ND40rs_v2"] == 8
    assert gpus["Standard_DS3_v2"] == 0


def test_datastores(ml: Any, control: Control):
    default = ml.datastores.get_default()
    assert default.name == ml.datastores.get("workspaceblobstore").name == "workspaceblobstore"
    assert {store.name for store in ml.datastores.list()} == {"workspaceblobstore", "workspaceartifactstore"}
    secret = ml.datastores.get("workspaceartifactstore", include_secrets=True).credentials
    assert len(base64.b64decode(secret.account_key)) == 64
    control.set_storage_auth("sas")
    secret = ml.datastores.get("workspaceartifactstore", include_secrets=True).credentials
    assert "sig=" in secret.sas_token


def test_the_same_file_is_uploaded_once(ml: Any, emulator: Connection, container: ContainerClient, tmp_path: Path):
    file = tmp_path / "train ä.jsonl"
    file.write_text(f'{{"text": "{uuid.uuid4()}"}}\n')
    data = entities().Data(name="sdk-data", version="a1", type="uri_file", path=str(file), tags={"split": "train"})
    with Requests(emulator) as first:
        made = ml.data.create_or_update(data)
    assert len(blob_writes(first)) == 2  # content, then the mark that it is complete
    with Requests(emulator) as second:
        again = ml.data.create_or_update(
            entities().Data(name="sdk-data", version="a1", type="uri_file", path=str(file), tags={"split": "train"})
        )
    assert blob_writes(second) == []
    assert again.path == made.path
    name = made.path.partition("/paths/")[2]
    assert container.download_blob(name).readall() == file.read_bytes()
    assert container.get_blob_client(name).get_blob_properties().metadata["upload_status"] == "completed"


def test_data_versions(ml: Any, tmp_path: Path):
    def put(version: str | None, text: str) -> Any:
        file = tmp_path / "rows.jsonl"
        file.write_text(text)
        return ml.data.create_or_update(
            entities().Data(name="sdk-versions", version=version, type="uri_file", path=str(file))
        )

    assert put(None, "one").version == "1"
    assert put(None, "two").version == "2"
    assert put("abc", "three").version == "abc"
    assert ml.data.get("sdk-versions", label="latest").version == "abc"
    assert {data.version for data in ml.data.list("sdk-versions")} == {"1", "2", "abc"}
    assert "sdk-versions" in {data.name for data in ml.data.list()}
    with pytest.raises(HttpResponseError) as caught:
        put("1", "other content")
    assert caught.value.status_code == 400
    ml.data.archive("sdk-versions", "2")
    assert {data.version for data in ml.data.list("sdk-versions")} == {"1", "abc"}
    ml.data.restore("sdk-versions", "2")
    assert ml.data.get("sdk-versions", "2").creation_context.created_at is not None
    with pytest.raises(ResourceNotFoundError):
        ml.data.get("sdk-versions", "9")


@pytest.mark.slow
def test_a_large_file_goes_up_in_blocks(ml: Any, emulator: Connection, container: ContainerClient, tmp_path: Path):
    file = tmp_path / "large.bin"
    block = os.urandom(1 << 20)
    with file.open("wb") as writer:
        for _ in range(70):
            writer.write(block)
    with Requests(emulator) as requests:
        made = ml.data.create_or_update(entities().Data(name="sdk-large", version="1", type="uri_file", path=str(file)))
    assert len(blob_writes(requests)) > 15
    blob = container.get_blob_client(made.path.partition("/paths/")[2])
    assert blob.get_blob_properties().size == 70 << 20
    assert blob.download_blob(max_concurrency=4).readall() == file.read_bytes()
    assert list((emulator.directory / "blobs" / ".blocks").iterdir()) == []


def mlflow_folder(parent: Path) -> Path:
    folder = parent / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "weights.bin").write_bytes(b"w" * 1000)
    (folder / "empty.txt").touch()
    flavors = {
        "hftransformersv2": {"task_type": "chat-completion", "hf_config_class": "Phi3Config", "numbers": [1, 2]},
        "python_function": {"loader_module": "phi_chat_pyfunc", "data": "data"},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, "model_uuid": "0" * 32}))
    return folder


def test_a_model_from_a_local_folder(ml: Any, emulator: Connection, tmp_path: Path):
    folder = mlflow_folder(tmp_path)

    def put(**more: Any) -> Any:
        model = entities().Model(name="sdk-model", type="mlflow_model", path=str(folder), **more)
        return ml.models.create_or_update(model)

    first = put(description="first", tags={"a": "b"})
    assert (first.version, first.type) == ("1", "mlflow_model")
    assert first.flavors["hftransformersv2"]["task_type"] == "chat-completion"
    assert first.flavors["hftransformersv2"]["numbers"] == "[1, 2]"
    with Requests(emulator) as requests:
        assert put().version == "2"
    assert blob_writes(requests) == []
    assert ml.models.get("sdk-model", label="latest").version == "2"
    assert {model.version for model in ml.models.list("sdk-model")} == {"1", "2"}
    changed = put(version="1", description="changed")
    assert (changed.description, changed.path) == ("changed", first.path)
    (folder / "data" / "weights.bin").write_bytes(b"other")
    with pytest.raises(HttpResponseError, match="Asset paths cannot be updated"):
        put(version="1")
    ml.models.archive("sdk-model", "1")
    assert {model.version for model in ml.models.list("sdk-model")} == {"2"}
    destination = tmp_path / "down"
    ml.models.download("sdk-model", "2", download_path=str(destination))
    downloaded = next(destination.rglob("MLmodel")).parent
    assert (downloaded / "data" / "weights.bin").read_bytes() == b"w" * 1000
    assert (downloaded / "empty.txt").read_bytes() == b""


def test_a_folder_without_mlmodel_is_no_mlflow_model(ml: Any, tmp_path: Path):
    (tmp_path / "weights.bin").write_bytes(b"x")
    uri = (
        "azureml://datastores/workspaceblobstore/paths/"
        + ml.data.create_or_update(
            entities().Data(name="sdk-weights", version="1", type="uri_folder", path=str(tmp_path))
        ).path.partition("/paths/")[2]
    )
    with pytest.raises(HttpResponseError, match="MLmodel") as caught:
        ml.models.create_or_update(entities().Model(name="sdk-broken", version="1", type="mlflow_model", path=uri))
    assert caught.value.status_code == 400
    custom = ml.models.create_or_update(entities().Model(name="sdk-custom", version="1", type="custom_model", path=uri))
    assert not custom.flavors


def test_a_model_of_a_job_that_does_not_exist(ml: Any):
    model = entities().Model(
        name="sdk-orphan", version="1", type="mlflow_model", path="azureml://jobs/no-such-job/outputs/trained_model"
    )
    with pytest.raises(ResourceNotFoundError, match="no-such-job"):
        ml.models.create_or_update(model)


def test_a_table_is_a_folder(ml: Any, tmp_path: Path):
    (tmp_path / "MLTable").write_text("paths:\n- file: ./rows.csv\n")
    (tmp_path / "rows.csv").write_text("a\n1\n")
    table = entities().Data(name="sdk-table", version="1", type="mltable", path=str(tmp_path), skip_validation=True)
    assert ml.data.create_or_update(table).path.endswith(f"/{tmp_path.name}/")


def test_environments(ml: Any, tmp_path: Path):
    conda = tmp_path / "conda.yaml"
    conda.write_text("name: e\ndependencies:\n- python=3.11\n")

    def put(image: str, **more: Any) -> Any:
        return ml.environments.create_or_update(
            entities().Environment(name="sdk-env", image=image, conda_file=str(conda), **more)
        )

    assert put("mcr.microsoft.com/one", version="1").conda_file["dependencies"] == ["python=3.11"]
    shown = ml.environments.get("sdk-env", version="1")
    assert shown.image == "mcr.microsoft.com/one"
    # What was shown is the same environment when it is sent back, whatever the order of its keys.
    shown.conda_file = dict(reversed(shown.conda_file.items()))
    shown.os_type = "linux"
    assert ml.environments.create_or_update(shown).version == "1"
    with pytest.raises(ResourceExistsError):
        put("mcr.microsoft.com/two", version="1")
    assert put("mcr.microsoft.com/two").version == "2"
    assert ml.environments.get("sdk-env", label="latest").version == "2"
    assert {environment.version for environment in ml.environments.list("sdk-env")} == {"1", "2"}


def test_code_is_uploaded_once(ml: Any, emulator: Connection, tmp_path: Path):
    (tmp_path / "main.py").write_text(f"print('{uuid.uuid4()}')\n")
    code = entities()._assets._artifacts.code.Code
    first = ml._code.create_or_update(code(path=str(tmp_path)))
    with Requests(emulator) as requests:
        second = ml._code.create_or_update(code(path=str(tmp_path)))
    assert second.id == first.id
    assert blob_writes(requests) == []


SCRIPT = """
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute
from azure.identity import DefaultAzureCredential
import os
ml = MLClient(
    DefaultAzureCredential(),
    os.environ["AZURE_SUBSCRIPTION_ID"],
    os.environ["AZURE_RESOURCE_GROUP"],
    os.environ["AZURE_ML_WORKSPACE"],
)
compute = ml.begin_create_or_update(AmlCompute(name="from-script", size="Standard_NC6s_v3")).result()
print(ml.workspaces.get(ml.workspace_name).location, compute.provisioning_state.value, ml.datastores.get_default().name)
registry = MLClient(DefaultAzureCredential(), registry_name="azureml")
print(registry.models.get("Phi-3-mini-4k-instruct", label="latest").name)
"""


@pytest.mark.slow
def test_somebody_elses_script_needs_only_the_environment(emulator: Connection):
    environment = os.environ | emulator.environment(os.environ)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["emulator", "Succeeded", "workspaceblobstore", "Phi-3-mini-4k-instruct"]


class TestDatastores:
    """Those that somebody adds to the workspace."""

    def test_one_of_the_workspaces_account_holds_data(self, ml: Any, emulator: Connection, tmp_path: Path):
        key = ml.datastores.get_default(include_secrets=True).credentials.account_key
        wanted = entities().AzureBlobDatastore(
            name="Mine",
            account_name="phistorage",
            container_name="my-data",
            description="added",
            credentials=entities().AccountKeyConfiguration(account_key=key),
        )
        made = ml.datastores.create_or_update(wanted)
        assert (made.name, made.container_name, made.description) == ("Mine", "my-data", "added")
        assert {each.name for each in ml.datastores.list()} == {"workspaceblobstore", "workspaceartifactstore", "Mine"}
        assert ml.datastores.get("mine", include_secrets=True).credentials.account_key == key
        assert ml.datastores.get_default().name == "workspaceblobstore"
        (tmp_path / "rows.jsonl").write_text("{}\n")
        path = str(tmp_path / "rows.jsonl")
        data = ml.data.create_or_update(entities().Data(name="in-mine", path=path, type="uri_file", datastore="Mine"))
        assert "/datastores/Mine/paths/LocalUpload/" in data.path
        assert list((emulator.directory / "blobs" / "my-data").rglob("rows.jsonl"))
        wanted.description = "changed"
        assert ml.datastores.create_or_update(wanted).description == "changed"
        ml.datastores.delete("Mine")
        with pytest.raises(ResourceNotFoundError):
            ml.datastores.get("Mine")

    def test_one_of_another_account_is_kept_and_not_read(self, ml: Any):
        kept = entities().AzureBlobDatastore(name="theirs", account_name="elsewhere", container_name="c")
        ml.datastores.create_or_update(kept)
        assert ml.datastores.get("theirs").account_name == "elsewhere"
        model = entities().Model(name="theirs", path="azureml://datastores/theirs/paths/m", type="custom_model")
        with pytest.raises(HttpResponseError, match="storage account 'elsewhere', which this emulator cannot reach"):
            ml.models.create_or_update(model)
        ml.datastores.delete("theirs")

    @pytest.mark.parametrize("name", ["workspaceblobstore", "files"])
    def test_what_is_not_built_says_so(self, ml: Any, name: str):
        made = {"name": name, "account_name": "phistorage"}
        wanted = (
            entities().AzureFileDatastore(
                **made, file_share_name="s", credentials=entities().AccountKeyConfiguration(account_key="k")
            )
            if name == "files"
            else entities().AzureBlobDatastore(**made, container_name="c")
        )
        with pytest.raises(HttpResponseError, match="This emulator") as refused:
            ml.datastores.create_or_update(wanted)
        assert refused.value.status_code == 501


def test_what_az_login_asks_for(emulator: Connection):
    with arm_client(emulator) as client:
        client.base_url = emulator.base_url
        (subscription,) = client.get("/subscriptions?api-version=2022-12-01").raise_for_status().json()["value"]
        (tenant,) = client.get("/tenants?api-version=2022-12-01").raise_for_status().json()["value"]
        assert (subscription["subscriptionId"], subscription["state"]) == (emulator.subscription_id, "Enabled")
        assert subscription["tenantId"] == tenant["tenantId"]
        assert client.get(f"/subscriptions/{emulator.subscription_id}").raise_for_status().json() == subscription
        assert client.get("/subscriptions/another").json()["error"]["code"] == "SubscriptionNotFound"
    with raw_client(emulator) as stranger:
        assert [stranger.get(path).status_code for path in ("/subscriptions", "/tenants")] == [401, 401]
