"""A failed deployment says why, what to do, and what both of its containers said: for every code of the service."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError, HttpResponseError

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import DeploymentFailed
from phi_assets.azureml.connection.retry import silent
from phi_assets.azureml.serving.deployments import ensure_deployment
from phi_assets.azureml.serving.diagnosis import diagnose, error_code
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.quota import core_need, quota_advice
from phi_assets.config.recipe import ServingSection
from phi_assets.emulator.control import Control
from phi_assets.refs import EndpointRef, RegisteredModelRef
from tests.azureml import toys as toy
from tests.azureml.serving.serving_toys import register
from tests.azureml.toy_step import write_model

SERVING = ServingSection(endpoint="diagnosed", instance_type=toy.SIZE, liveness_initial_delay_seconds=10)

SAYS = {
    "OutOfQuota": r"1 x Standard_NC24ads_A100_v4 take 24 cores of quota of standardNCADSA100v4Family in \w+, without "
    r"the 20 % reserve.*Ask for quota.*still-billing.*`serving.instance_type`",
    "ImageBuildFailure": r"conda file.*Read the build log",
    "SecretsInjectionError": r"secret that an environment variable.*Check that the connection",
    "BadArgument": r"could not be brought into the container.*storage initializer's lines",
    "ResourceNotReady": r"crashed, or did not pass its probes.*`serving.liveness_initial_delay_seconds`",
    "ResourceNotFound": r"does not exist.*materialize registered_model",
    "OperationCanceled": r"had priority.*Wait a minute",
    "InternalServerError": r"service itself failed.*support request",
}


@pytest.fixture(scope="module")
def endpoint(toys: Workspace) -> Iterator[EndpointRef]:
    yield ensure_endpoint(toys, SERVING)
    delete_endpoint(toys, str(SERVING.endpoint))


@pytest.fixture(scope="module")
def model(toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> RegisteredModelRef:
    return register(toys, tmp_path_factory.mktemp("models"), "diagnosed")


def deploy(toys: Workspace, model: RegisteredModelRef, name: str) -> AzureError:
    """What the service answers to a deployment that goes wrong."""
    entity = sdk().entities.ManagedOnlineDeployment(
        name=name, endpoint_name=str(SERVING.endpoint), model=model.id, instance_type=toy.SIZE, instance_count=1
    )
    with pytest.raises(AzureError) as raised:
        toys.ml.online_deployments.begin_create_or_update(entity).wait()
    return raised.value


@pytest.mark.parametrize("code", SAYS)
def test_every_code_has_a_cause_and_a_next_step(
    toys: Workspace, endpoint: EndpointRef, model: RegisteredModelRef, control: Control, code: str
) -> None:
    name = f"d-{code.lower()}"[:32]
    control.add_scenario("deployment", scenario=code, match=name)
    error = deploy(toys, model, name)
    assert error_code(error) == code
    first, *rest = diagnose(toys, endpoint.name, name, error, SERVING).splitlines()
    assert re.search(SAYS[code], first), first
    assert first.endswith("Then run again: a broken deployment is replaced.")
    for container in ("inference server", "storage initializer"):
        assert any(container in line for line in rest), rest


def test_a_crash_brings_the_words_of_both_containers(toys: Workspace, endpoint: EndpointRef, tmp_path: Path) -> None:
    write_model(tmp_path / "1", "echo: ")
    (tmp_path / "1" / "code" / "echo_model.py").write_text(
        "raise RuntimeError('this model is broken: https://account.example/model?sv=1&sig=c4n4ry&sp=r')"
    )
    model = register(toys, tmp_path, "diagnosed-crash", write=False)
    with pytest.raises(DeploymentFailed) as raised:
        ensure_deployment(toys, endpoint, model, SERVING)
    text = str(raised.value)
    assert "ResourceNotReady" in text.splitlines()[0]
    server, initializer = text.split("Last lines of the storage initializer:")
    assert "Last lines of the inference server:" in server
    assert "this model is broken" in server
    assert "sig=***&sp=r" in server
    assert "c4n4ry" not in text
    assert "Resolving the model" in initializer


def test_a_deployment_that_never_was_has_no_logs_and_still_a_cause(toys: Workspace, endpoint: EndpointRef) -> None:
    text = diagnose(toys, endpoint.name, "nobody", "OutOfQuota: 24 cores are needed")
    assert text.startswith("There is not enough core quota. Ask for quota")
    assert text.count("cannot be read: ") == 2


def test_what_has_no_code_says_so(toys: Workspace, endpoint: EndpointRef) -> None:
    assert "no code that is known" in diagnose(toys, endpoint.name, "nobody", "state Failed")


@pytest.mark.parametrize(
    ("size", "instances", "cores", "has_reserve"),
    [
        ("Standard_NC24ads_A100_v4", 3, 72, False),
        ("standard_nd40rs_v2", 1, 40, False),
        ("Standard_NC4as_T4_v3", 1, 8, True),
        ("Standard_NC6s_v3", 5, 36, True),
        ("Standard_NC6s_v3", 6, 48, True),
        ("Standard_DS3_v2", 10, 48, True),
    ],
)
def test_the_reserve_counts_whole_instances_except_for_exempt_sizes(
    toys: Workspace, size: str, instances: int, cores: int, has_reserve: bool
) -> None:
    need = core_need(toys, size, instances, silent)
    assert need is not None
    assert (need.cores, need.has_reserve) == (cores, has_reserve)


def test_a_size_that_is_not_offered_is_named(toys: Workspace) -> None:
    section = SERVING.model_copy(update={"instance_type": "Standard_Nowhere"})
    cause, _ = quota_advice(toys, "OutOfQuota: not enough cores", section, silent)
    assert "a size that region" in cause


@pytest.mark.parametrize(
    ("message", "helps"),
    [
        ("Not enough disk space for the model", "a larger one"),
        ("Memory of the container exceeded", "more of it"),
        ("Role assignment limit reached", "Access control"),
        ("The region has no capacity for this size", "another size"),
        ("The endpoint 'a' has 20 deployments, the most that it can have.", "still-billing"),
        ("24 cores are needed, see https://x.example/how-to-troubleshoot-online-endpoints", "Ask for quota"),
    ],
)
def test_quota_of_other_things_is_told_apart(toys: Workspace, message: str, helps: str) -> None:
    _, next_step = quota_advice(toys, message, None, silent)
    assert helps in next_step


def test_the_particular_code_counts_wherever_it_stands() -> None:
    assert error_code("(InternalServerError) the pod is ResourceNotReady") == "ResourceNotReady"
    assert error_code("InternalServerError: try again") == "InternalServerError"
    assert error_code("Badargument: nothing here is called that") == "BadArgument"
    assert error_code(HttpResponseError("something else")) is None
