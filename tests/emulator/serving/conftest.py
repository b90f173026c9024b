"""A registered model that answers by itself, and what a client of an endpoint needs."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.emulator.serving.echo import write_echo_model

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

Register = Callable[..., str]


def ml(workspace: "Workspace") -> Any:
    """The SDK client, whose declared types leave open what a test knows (keys or token, absent or not)."""
    return workspace.ml


@pytest.fixture(scope="module")
def register(workspace: "Workspace", tmp_path_factory: pytest.TempPathFactory) -> Register:
    """Registers an echo model through the SDK; gives its ARM id."""

    def register(label: str, **behaviour: Any) -> str:
        from azure.ai.ml.entities import Model

        folder = write_echo_model(tmp_path_factory.mktemp("echo") / "model", label, **behaviour)
        name = f"echo-{uuid.uuid4().hex[:8]}"
        registered = ml(workspace).models.create_or_update(Model(name=name, path=str(folder), type="mlflow_model"))
        return str(registered.id)

    return register


@pytest.fixture(scope="module")
def echo(register: Register) -> str:
    """Id of a registered model whose answers begin with `echo`."""
    return register("echo")


@pytest.fixture
def endpoint(workspace: "Workspace") -> Iterator[str]:
    """A new endpoint with key authentication and no deployments; deleted afterwards."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    name = f"test-{uuid.uuid4().hex[:8]}"
    ml(workspace).online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key")).wait()
    yield name
    ml(workspace).online_endpoints.begin_delete(name).wait()


@pytest.fixture
def front(workspace: "Workspace", endpoint: str) -> Iterator[httpx.Client]:
    """A client of the endpoint that carries its key."""
    with front_of(workspace, endpoint) as client:
        yield client


@contextmanager
def front_of(workspace: "Workspace", endpoint: str) -> Iterator[httpx.Client]:
    """A client of an endpoint that carries its key."""
    found = ml(workspace).online_endpoints.get(endpoint)
    key = ml(workspace).online_endpoints.get_keys(endpoint).primary_key
    with httpx.Client(
        base_url=str(found.scoring_uri).removesuffix("/score"),
        verify=workspace.tls_context(),
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    ) as client:
        yield client


def until(read: Callable[[], Any], done: Callable[[Any], bool], seconds: float = 60) -> Any:
    """Reads until `done` says so; what was read last."""
    deadline = time.monotonic() + seconds
    while not done(found := read()):
        assert time.monotonic() < deadline, f"still {found}"
        time.sleep(0.05)
    return found


def is_succeeded(entity: Any) -> bool:
    """Whether the last operation on the endpoint or deployment is through."""
    return entity.provisioning_state == "Succeeded"


def deploy(workspace: "Workspace", endpoint: str, model: str, name: str = "blue", **settings: Any) -> Any:
    """Creates the deployment and returns the SDK's entity when it is healthy."""
    from azure.ai.ml.entities import ManagedOnlineDeployment

    wanted = {"instance_type": "Standard_DS3_v2", "instance_count": 1} | settings
    deployment = ManagedOnlineDeployment(name=name, endpoint_name=endpoint, model=model, **wanted)
    return ml(workspace).online_deployments.begin_create_or_update(deployment).result()


def set_traffic(workspace: "Workspace", endpoint: str, **traffic: int) -> Any:
    """Waits until the endpoint's traffic is as given."""
    entity = ml(workspace).online_endpoints.get(endpoint)
    entity.traffic = traffic
    return ml(workspace).online_endpoints.begin_create_or_update(entity).result()
