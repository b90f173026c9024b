"""What becomes of endpoints and deployments when the emulator is killed and started again."""

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from phi_assets.emulator import process
from phi_assets.emulator.process import Connection
from tests.emulator.serving.conftest import until
from tests.emulator.serving.echo import ask, write_echo_model

REGISTRY = "azureml://registries/mine/models/{}/versions/1"

pytestmark = pytest.mark.usefixtures("emulator_programs")


class Client:
    """Asks an emulator without the SDK, whose cloud settings are one per process."""

    def __init__(self, connection: Connection):
        self.connection = connection
        trust = ssl.create_default_context(cafile=str(connection.ca_bundle))
        self.http = httpx.Client(verify=trust, timeout=60, trust_env=False)
        token = self.http.get(
            connection.identity_endpoint,
            params={"resource": connection.base_url, "api-version": "2019-08-01"},
            headers={"X-IDENTITY-HEADER": connection.identity_header},
        ).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def arm(self, method: str, path: str, body: Any = None) -> httpx.Response:
        connection = self.connection
        url = (
            f"{connection.base_url}/subscriptions/{connection.subscription_id}/resourceGroups/"
            f"{connection.resource_group}/providers/Microsoft.MachineLearningServices/workspaces/"
            f"{connection.workspace_name}/onlineEndpoints/{path}"
        )
        return self.http.request(method, url, json=body, params={"api-version": "2025-12-01"})

    def state(self, path: str) -> str:
        answer = self.arm("GET", path)
        return "gone" if answer.status_code == 404 else answer.json()["properties"]["provisioningState"]

    def put_deployment(self, name: str, model: str) -> str:
        """Begins to create the deployment; address of the operation's status."""
        body = {"location": "emulator", "properties": {"model": REGISTRY.format(model)}}
        answer = self.arm("PUT", f"shop/deployments/{name}", body)
        assert answer.status_code == 201
        return answer.headers["Azure-AsyncOperation"]

    def operation(self, url: str) -> str:
        """Status of an operation; `unreachable` while nobody answers."""
        try:
            return self.http.get(url).raise_for_status().json()["status"]
        except httpx.TransportError:
            return "unreachable"

    def score(self, text: str) -> httpx.Response:
        key = self.arm("POST", "shop/listKeys").json()["primaryKey"]
        url = f"{self.connection.base_url}/endpoints/shop/score"
        return self.http.post(url, json=ask(text), headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Directory of an emulator with a registry of echo models; whatever runs there is stopped afterwards."""
    directory = tmp_path / "emulator"
    for name, behaviour in {"echo": {}, "slow": {"load_seconds": 4}}.items():
        folder = directory / "registry" / "mine" / "models" / name
        write_echo_model(folder / "files", name, **behaviour)
        (folder / "1.yaml").write_text(f"name: {name}\nversion: 1\ntype: mlflow_model\npath: files\n")
    yield directory
    process.stop(directory)


def kill(connection: Connection) -> list[psutil.Process]:
    """Ends the emulator as a crash would; its children at that moment."""
    emulator = psutil.Process(connection.pid)
    children = emulator.children(recursive=True)
    emulator.kill()
    emulator.wait(10)
    return children


@pytest.mark.slow
def test_a_killed_emulator_serves_again_and_settles_what_was_underway(home: Path) -> None:
    first = Client(process.ensure_running(home))
    assert first.arm("PUT", "shop", {"location": "emulator", "properties": {"authMode": "Key"}}).status_code == 201
    until(lambda: first.state("shop"), lambda state: state == "Succeeded")
    for name in ("blue", "old"):
        first.put_deployment(name, "echo")
        until(lambda name=name: first.state(f"shop/deployments/{name}"), lambda state: state == "Succeeded")
    traffic = {"location": "emulator", "properties": {"authMode": "Key", "traffic": {"blue": 100}}}
    assert first.arm("PUT", "shop", traffic).status_code == 201
    until(lambda: first.score("before").status_code, lambda status: status == 200)
    until(lambda: first.state("shop"), lambda state: state == "Succeeded")

    operations = [first.put_deployment("green", "slow")]
    deletion = first.arm("DELETE", "shop/deployments/old")
    assert deletion.status_code == 202
    operations.append(deletion.headers["Azure-AsyncOperation"])
    update = first.arm("PUT", "shop", traffic | {"tags": {"changed": "just now"}})
    operations.append(update.headers["Azure-AsyncOperation"])
    orphans = kill(first.connection)
    assert psutil.wait_procs(orphans, timeout=10)[1] == []

    again = Client(process.ensure_running(home))
    assert again.state("shop/deployments/blue") == "Succeeded"
    assert again.score("at once").status_code in (200, 503)
    until(lambda: again.score("after").status_code, lambda status: status == 200)
    assert again.score("after").json() == [{"0": "echo|after|1"}]
    # A client that polled before the crash goes on polling at the same address.
    for url in operations:
        until(lambda url=url: again.operation(url), lambda status: status == "Succeeded")
    assert again.state("shop/deployments/green") == "Succeeded"
    assert again.state("shop/deployments/old") == "gone"
    assert again.arm("GET", "shop").json()["tags"] == {"changed": "just now"}


@pytest.mark.slow
def test_a_stopped_emulator_leaves_no_process_and_serves_again(home: Path) -> None:
    first = Client(process.ensure_running(home))
    assert first.arm("PUT", "shop", {"location": "emulator", "properties": {"authMode": "Key"}}).status_code == 201
    until(lambda: first.state("shop"), lambda state: state == "Succeeded")
    first.put_deployment("blue", "echo")
    until(lambda: first.state("shop/deployments/blue"), lambda state: state == "Succeeded")
    operation = first.put_deployment("green", "slow")
    workers = psutil.Process(first.connection.pid).children(recursive=True)
    assert process.stop(home)
    assert not any(worker.is_running() for worker in workers)

    again = Client(process.ensure_running(home))
    assert again.state("shop/deployments/green") == "Creating"
    assert again.operation(operation) == "Updating"
    until(lambda: again.operation(operation), lambda status: status == "Succeeded")
    assert again.state("shop/deployments/green") == "Succeeded"


@pytest.mark.slow
def test_a_model_that_is_gone_after_a_restart_fails_honestly(home: Path) -> None:
    first = Client(process.ensure_running(home))
    assert first.arm("PUT", "shop", {"location": "emulator", "properties": {"authMode": "Key"}}).status_code == 201
    until(lambda: first.state("shop"), lambda state: state == "Succeeded")
    first.put_deployment("blue", "echo")
    until(lambda: first.state("shop/deployments/blue"), lambda state: state == "Succeeded")
    assert process.stop(home)
    shutil.rmtree(home / "registry" / "mine" / "models" / "echo" / "files" / "data")

    again = Client(process.ensure_running(home))
    until(lambda: again.state("shop/deployments/blue"), lambda state: state == "Failed")
    retry = again.put_deployment("blue", "echo")
    until(lambda: again.operation(retry), lambda status: status == "Failed")
    logs = again.arm("POST", "shop/deployments/blue/getLogs", {"tail": 50}).json()["content"]
    assert "settings.json" in logs
