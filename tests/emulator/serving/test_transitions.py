"""What an operation that is underway allows and refuses, seen inside the emulator, where no time passes by itself."""

from pathlib import Path

import pytest

from phi_assets.emulator.serving import deployments, endpoints
from phi_assets.emulator.serving.credentials import list_keys
from phi_assets.emulator.serving.documents import DEPLOYMENT, Begun, deployment_key, endpoint_path, require_endpoint
from phi_assets.emulator.serving.manager import DeploymentManager
from phi_assets.emulator.serving.processes.forking import Template
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator, open_emulator
from tests.emulator.jobs import until
from tests.emulator.serving.echo import write_echo_model

ENDPOINT = {"location": "emulator", "tags": {"a": "b"}, "properties": {"authMode": "key"}}
OTHER_ENDPOINT = ENDPOINT | {"tags": {"a": "other"}}
WANTED = {"location": "emulator", "properties": {"model": "azureml://registries/mine/models/echo/versions/1"}}


@pytest.fixture
def emulator(tmp_path: Path) -> Emulator:
    """An emulator without a server, whose endpoint operations take a moment."""
    opened = open_emulator(tmp_path / "emulator", "https://127.0.0.1:1", time_scale=100)
    folder = opened.directory / "registry" / "mine" / "models" / "echo"
    write_echo_model(folder / "files", "echo")
    (folder / "1.yaml").write_text("name: echo\nversion: 1\ntype: mlflow_model\npath: files\n")
    return opened


@pytest.fixture
def manager(emulator: Emulator) -> DeploymentManager:
    """The emulator's deployments."""
    return DeploymentManager(emulator, Template())


@pytest.fixture
def endpoint(emulator: Emulator) -> str:
    """An endpoint that is settled."""
    endpoints.begin_put(emulator, "shop", ENDPOINT)
    endpoints.finish_put(emulator, "shop")
    return "shop"


def test_an_endpoint_goes_through_its_states(emulator: Emulator) -> None:
    document, begun = endpoints.begin_put(emulator, "Shop", ENDPOINT)
    assert (begun, document["state"], document["properties"]["authMode"]) == (Begun.CREATION, "Creating", "Key")
    endpoints.finish_put(emulator, "Shop")
    assert require_endpoint(emulator.store, "shop")["state"] == "Succeeded"

    document, begun = endpoints.begin_put(emulator, "shop", ENDPOINT | {"tags": {"a": "c"}})
    assert (begun, document["state"], document["tags"]) == (Begun.UPDATE, "Updating", {"a": "b"})
    endpoints.finish_put(emulator, "shop")
    assert require_endpoint(emulator.store, "shop")["tags"] == {"a": "c"}

    assert endpoints.begin_delete(emulator, "shop") is Begun.DELETION
    assert require_endpoint(emulator.store, "shop")["state"] == "Deleting"
    endpoints.finish_delete(emulator, "shop", DeploymentManager(emulator, Template()).delete)
    assert endpoints.begin_delete(emulator, "shop") is None
    assert emulator.store.list("online_endpoint_keys") == []


def test_an_endpoint_in_transition_refuses_changes(emulator: Emulator) -> None:
    endpoints.begin_put(emulator, "shop", ENDPOINT)
    with pytest.raises(ServiceError, match="Cannot update the endpoint shop because it is in Creating") as refused:
        endpoints.begin_put(emulator, "shop", OTHER_ENDPOINT)
    assert refused.value.status == 409
    with pytest.raises(ServiceError, match="Cannot create a deployment in endpoint shop because it is in Creating"):
        deployments.begin_put(emulator, "shop", "blue", WANTED)
    endpoints.begin_delete(emulator, "shop")
    with pytest.raises(ServiceError, match="in Deleting provisioning state"):
        endpoints.begin_patch(emulator, "shop", {"tags": {}})
    with pytest.raises(ServiceError, match="was deleted before the operation ended"):
        endpoints.finish_put(emulator, "shop")


def test_a_deployment_in_transition_refuses_changes(emulator: Emulator, endpoint: str) -> None:
    document, begun = deployments.begin_put(emulator, endpoint, "blue", WANTED)
    assert (begun, document["state"]) == (Begun.CREATION, "Creating")
    with pytest.raises(ServiceError, match="Cannot update the deployment blue because it is in Creating") as refused:
        deployments.begin_put(emulator, endpoint, "blue", WANTED | {"sku": {"capacity": 2}})
    assert refused.value.status == 409


def test_a_change_of_the_instance_count_alone_is_scaling(emulator: Emulator, endpoint: str) -> None:
    key = deployment_key(endpoint, "blue")

    def begin(**changes: object) -> str:
        emulator.store.update(DEPLOYMENT, key, lambda document: document | {"state": "Succeeded"})
        return deployments.begin_put(emulator, endpoint, "blue", WANTED | changes)[0]["state"]

    deployments.begin_put(emulator, endpoint, "blue", WANTED)
    assert begin(sku={"capacity": 3}) == "Scaling"
    with pytest.raises(ServiceError, match="because it is in Scaling provisioning state"):
        deployments.begin_put(emulator, endpoint, "blue", WANTED)
    assert begin(sku={"capacity": 3}, tags={"a": "b"}) == "Updating"
    assert begin(sku={"capacity": 2}, tags={"a": "c"}) == "Updating"
    emulator.store.update(DEPLOYMENT, key, lambda document: document | {"state": "Succeeded"})
    assert deployments.begin_patch(emulator, endpoint, "blue", {"sku": {"capacity": 4}})[0]["state"] == "Scaling"


def test_what_an_update_is_about_to_give_traffic_cannot_be_deleted(emulator: Emulator, endpoint: str) -> None:
    deployments.begin_put(emulator, endpoint, "blue", WANTED)
    key = deployment_key(endpoint, "blue")
    emulator.store.update(DEPLOYMENT, key, lambda document: document | {"state": "Succeeded"})
    coming = ENDPOINT | {"properties": {"authMode": "key", "traffic": {"blue": 100}}}
    endpoints.begin_put(emulator, endpoint, coming)
    with pytest.raises(ServiceError, match="receives 100 % of the traffic"):
        deployments.begin_delete(emulator, endpoint, "Blue")
    endpoints.finish_put(emulator, endpoint)
    endpoints.begin_put(emulator, endpoint, ENDPOINT)
    with pytest.raises(ServiceError, match="receives 100 % of the traffic"):
        deployments.begin_delete(emulator, endpoint, "blue")
    endpoints.finish_put(emulator, endpoint)
    assert deployments.begin_delete(emulator, endpoint, "blue") is Begun.DELETION
    with pytest.raises(ServiceError, match="in Deleting provisioning state"):
        endpoints.begin_put(emulator, endpoint, coming)


def test_a_repeated_request_begins_nothing(emulator: Emulator, endpoint: str) -> None:
    endpoints.begin_put(emulator, endpoint, OTHER_ENDPOINT)
    assert endpoints.begin_put(emulator, endpoint, OTHER_ENDPOINT)[1] is Begun.NOTHING
    assert endpoints.begin_patch(emulator, endpoint, {"tags": {"a": "other"}})[1] is Begun.NOTHING
    endpoints.finish_put(emulator, endpoint)
    assert require_endpoint(emulator.store, endpoint)["tags"] == {"a": "other"}

    first, _ = deployments.begin_put(emulator, endpoint, "blue", WANTED)
    again, begun = deployments.begin_put(emulator, endpoint, "Blue", WANTED)
    assert (begun, again) == (Begun.NOTHING, first)
    assert deployments.begin_delete(emulator, endpoint, "blue") is Begun.DELETION
    assert deployments.begin_delete(emulator, endpoint, "blue") is Begun.NOTHING
    assert endpoints.begin_delete(emulator, endpoint) is Begun.DELETION
    assert endpoints.begin_delete(emulator, endpoint) is Begun.NOTHING


def test_a_deployment_that_is_deleted_before_its_turn_never_starts(
    emulator: Emulator, manager: DeploymentManager, endpoint: str
) -> None:
    deployments.begin_put(emulator, endpoint, "blue", WANTED)
    assert deployments.begin_delete(emulator, endpoint, "blue")
    with pytest.raises(ServiceError) as canceled:
        manager.create(endpoint, "blue")
    assert canceled.value.code == "OperationCanceled"
    manager.delete(endpoint, "blue")
    assert emulator.store.get(DEPLOYMENT, deployment_key(endpoint, "blue")) is None
    assert not (emulator.directory / "deployments" / "shop").exists()


@pytest.mark.parametrize("name", ["phi/run", "a<b", "a\\b", "100%", "who?", "a\tb"])
def test_tag_names_with_reserved_characters_are_refused(emulator: Emulator, endpoint: str, name: str) -> None:
    tags = {"tags": {"owner": "me", name: "value"}}
    deployments.begin_put(emulator, endpoint, "blue", WANTED | {"tags": {"phi-run": "value"}})
    requests = (
        lambda: endpoints.begin_put(emulator, "another", ENDPOINT | tags),
        lambda: endpoints.begin_patch(emulator, endpoint, tags),
        lambda: deployments.begin_put(emulator, endpoint, "green", WANTED | tags),
        lambda: deployments.begin_patch(emulator, endpoint, "blue", tags),
    )
    for request in requests:
        with pytest.raises(ServiceError, match="reserved characters") as refused:
            request()
        assert (refused.value.status, refused.value.code) == (400, "InvalidTagNameCharacters")


def test_a_deployment_that_was_deleted_meanwhile_is_not_served_again(
    emulator: Emulator, manager: DeploymentManager, endpoint: str
) -> None:
    document, _ = deployments.begin_put(emulator, endpoint, "blue", WANTED)
    stale = document | {"state": "Succeeded", "serving": {"folder": "gone", "environment": {}}}
    manager.delete(endpoint, "blue")
    manager.serve_again(stale)
    assert manager.target(endpoint, "blue") is None
    assert not (emulator.directory / "deployments" / "shop").exists()


def test_recovery_ends_only_what_an_earlier_process_began(
    emulator: Emulator, manager: DeploymentManager, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def operation(name: str) -> None:
        body = {"name": name, "kind": operations.ENDPOINT, "resource": endpoint_path(emulator, endpoint)}
        emulator.store.put("operation", name, body | {"status": "Updating"})

    def status(name: str) -> str:
        found = emulator.store.get("operation", name)
        return found["status"] if found else "none"

    endpoints.begin_put(emulator, endpoint, OTHER_ENDPOINT)
    operation("before")
    monkeypatch.setattr(endpoints, "finish_put", lambda emulator, name: operation("meanwhile"))
    manager.recover()
    until(lambda: status("before") == "Succeeded", "the operation to end")
    assert status("meanwhile") == "Updating"


def test_an_endpoint_has_at_most_twenty_deployments(emulator: Emulator, endpoint: str) -> None:
    for number in range(20):
        deployments.begin_put(emulator, endpoint, f"d-{number:02}", WANTED)
    with pytest.raises(ServiceError, match="has 20 deployments"):
        deployments.begin_put(emulator, endpoint, "one-more", WANTED)


def test_secrets_lie_in_files_of_their_owner_only(emulator: Emulator, endpoint: str) -> None:
    keys = list_keys(emulator, require_endpoint(emulator.store, endpoint))
    key = keys["primaryKey"].encode()
    holding = [path for path in emulator.directory.rglob("*") if path.is_file() and key in path.read_bytes()]
    assert holding
    assert all(path.stat().st_mode & 0o077 == 0 for path in holding)
    assert emulator.directory.stat().st_mode & 0o077 == 0
