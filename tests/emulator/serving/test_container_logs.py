"""What both containers' logs say about a deployment, as the SDK reads them, for every way to fail."""

from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from tests.emulator.serving.conftest import Register, deploy, ml, until
from tests.emulator.serving.echo import ask

# Code -> the stage that is not through, what the instance's events say, and what is in each container's own lines.
FAILURES = {
    "OutOfQuota": ("SystemSetup: Failed", "4 cores of its family are missing", None, None),
    "ImageBuildFailure": ("UserContainerImagePull: Failed", "Image pull failed", None, "No matching distribution"),
    "SecretsInjectionError": (
        "UserContainerStart: Failed",
        "may not read a secret",
        "The model's files are in",
        "no permission to read the secret",
    ),
    "BadArgument": ("ModelDownload: Failed", "storage-initializer log", "403 AuthorizationPermissionMismatch", None),
    "ResourceNotReady": (
        "UserContainerStart: InProgress",
        "Back-off restarting",
        "The model's files are in",
        "ModuleNotFoundError",
    ),
    "ResourceNotFound": ("SystemSetup: Failed", "was not found", None, None),
    "OperationCanceled": ("SystemSetup: InProgress", "higher priority", None, None),
    "InternalServerError": ("SystemSetup: Failed", "error of the service", None, None),
}


def both(workspace: Any, endpoint: str, lines: int = 100) -> tuple[str, str]:
    """Logs of storage initializer and inference server."""
    read = ml(workspace).online_deployments.get_logs
    return read("blue", endpoint, lines=lines, container_type="storage-initializer"), read(
        "blue", endpoint, lines=lines, container_type="inference-server"
    )


@pytest.mark.parametrize("code", FAILURES)
def test_each_failure_leaves_its_trace_in_the_right_container(
    workspace: Any, control: Control, endpoint: str, echo: str, code: str
) -> None:
    from azure.core.exceptions import HttpResponseError

    stage, event, initializer, server = FAILURES[code]
    control.add_scenario("deployment", scenario=code, match=f"{endpoint}/blue")
    with pytest.raises(HttpResponseError, match=rf"\({code}\)"):
        deploy(workspace, endpoint, echo)
    for log, own in zip(both(workspace, endpoint), (initializer, server), strict=True):
        head, _, lines = log.partition("Container logs:\n")
        assert stage in head.splitlines()
        assert event in head
        assert "Type: Warning" in head
        assert (own in lines) if own else not lines
    # Whoever asks for a few lines gets the last ones.
    assert len(both(workspace, endpoint, lines=3)[1].splitlines()) == 3


def test_a_healthy_deployment_is_through_all_stages(workspace: Any, endpoint: str, echo: str) -> None:
    deploy(workspace, endpoint, echo)
    storage, server = both(workspace, endpoint)
    for log in (storage, server):
        for stage in ("SystemSetup", "UserContainerImagePull", "ModelDownload", "UserContainerStart"):
            assert f"{stage}: Succeeded\n" in log
        assert "Name: Started, Type: Normal" in log
        assert "Warning" not in log
    assert "Resolving the model" in storage
    assert "Model loaded in" in server


def test_a_crash_at_load_and_a_later_success(workspace: Any, endpoint: str, echo: str, control: Control) -> None:
    from azure.core.exceptions import HttpResponseError

    control.add_scenario("deployment", scenario="crash_at_load", match=f"{endpoint}/blue", message="shard 3 is cut off")
    with pytest.raises(HttpResponseError):
        deploy(workspace, endpoint, echo)
    storage, server = both(workspace, endpoint)
    assert "UserContainerStart: InProgress\n" in server
    assert "exited with status 1" in server
    assert "RuntimeError: shard 3 is cut off" in server
    assert "ModelDownload: Succeeded\n" in storage
    deploy(workspace, endpoint, echo)
    storage, server = both(workspace, endpoint)
    assert "UserContainerStart: Succeeded\n" in server
    assert "shard 3" not in server, "a new container has a new log"


def test_a_model_whose_files_are_no_model_is_told_by_the_initializer(
    workspace: Any, endpoint: str, tmp_path: Any
) -> None:
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import HttpResponseError

    (tmp_path / "weights.bin").write_bytes(b"1")
    custom = ml(workspace).models.create_or_update(Model(name="no-mlflow", path=str(tmp_path), type="custom_model"))
    with pytest.raises(HttpResponseError, match=r"\(BadArgument\)"):
        deploy(workspace, endpoint, str(custom.id))
    storage, server = both(workspace, endpoint)
    assert "Failed: " in storage
    assert "not an MLflow model" in storage
    assert "ModelDownload: Failed\n" in server
    assert server.endswith("Container logs:\n")


def test_a_breakdown_is_told_too(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    deploy(workspace, endpoint, echo)
    control.add_scenario("deployment", scenario="unhealthy", match=f"{endpoint}/blue")
    named = {"azureml-model-deployment": "blue"}
    until(lambda: front.post("/score", json=ask("x"), headers=named).status_code, lambda status: status == 503)
    until(lambda: both(workspace, endpoint)[1], lambda log: "out of memory (exit status 137)" in log)
    assert "UserContainerStart: InProgress\n" in both(workspace, endpoint)[0]


def test_an_unknown_model_leaves_no_deployment(workspace: Any, endpoint: str, register: Register) -> None:
    from azure.core.exceptions import HttpResponseError

    gone = register("gone").replace("/versions/1", "/versions/7")
    with pytest.raises(HttpResponseError, match="was not found"):
        deploy(workspace, endpoint, gone)
    assert list(ml(workspace).online_deployments.list(endpoint)) == []
