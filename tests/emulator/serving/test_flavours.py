"""The two ways in which deployments answer, and what decides which one it is."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from phi_assets.emulator.control import Control
from phi_assets.emulator.serving.inference.flavours import BASE_IMAGE, FOUNDATION, MLFLOW, flavour_of
from phi_assets.emulator.serving.processes.launch import Launch
from tests.emulator.serving.conftest import deploy, ml
from tests.emulator.serving.echo import ask, write_echo_model

IMAGE = "mcr.microsoft.com/azureml/curated/foundation-model-inference:61"


@pytest.fixture
def foundation(workspace: Any, control: Control, endpoint: str, echo: str) -> None:
    """The echo model, in the container for foundation models."""
    control.add_scenario("deployment", scenario=FOUNDATION, match=f"{endpoint}/blue")
    deploy(workspace, endpoint, echo)


def score(front: httpx.Client, *texts: str) -> httpx.Response:
    return front.post("/score", json=ask(*texts), headers={"azureml-model-deployment": "blue"})


def test_the_foundation_container_hides_what_goes_wrong(
    workspace: Any, control: Control, endpoint: str, foundation: None, front: httpx.Client
) -> None:
    cases: list[tuple[tuple[str, ...], Any]] = [
        (("one",), {"output": "echo|one|1"}),
        # The others are not answered, nor do they matter.
        (("one", "two", "fail:no"), {"output": "echo|one|1"}),
        (("refuse:5000 tokens are too many",), {"output": "None"}),
        (("fail:no luck",), {}),
    ]
    for texts, content in cases:
        answer = score(front, *texts)
        assert (answer.status_code, answer.json()) == (200, content), texts
    named = {"azureml-model-deployment": "blue"}
    assert front.post("/score", json={"input_data": [1]}, headers=named).json() == {}
    assert front.post("/score", content=b"{", headers=named).status_code == 424
    log = ml(workspace).online_deployments.get_logs("blue", endpoint, lines=100)
    assert "POST /score 200" in log
    for said in (
        "foundation-model-inference answers",
        "5000 tokens are too many",
        "RuntimeError: no luck",
        "Traceback",
    ):
        assert said in log


def test_what_disturbs_a_model_shows_in_the_form_of_its_flavour(
    control: Control, endpoint: str, foundation: None, front: httpx.Client
) -> None:
    control.add_scenario("deployment", scenario="model_error", match=f"{endpoint}/blue", every=5)
    answers = [score(front, "x").json() for _ in range(10)]
    assert [number for number, answer in enumerate(answers, 1) if answer == {}] == [5, 10]
    assert answers.count({"output": "echo|x|1"}) == 8
    control.clear_scenarios()
    control.add_scenario("deployment", scenario="refuses", match=f"{endpoint}/blue", requests=1)
    assert [score(front, "x").json() for _ in range(2)] == [{"output": "None"}, {"output": "echo|x|1"}]
    control.add_scenario("deployment", scenario="empty", match=f"{endpoint}/blue", requests=1)
    assert score(front, "x").json() == {"output": ""}


def test_the_mlflow_server_says_that_the_model_refuses(
    workspace: Any, control: Control, endpoint: str, echo: str, front: httpx.Client
) -> None:
    deploy(workspace, endpoint, echo)
    control.add_scenario("deployment", scenario="refuses", match=f"{endpoint}/blue", message="too long by 7 tokens")
    answer = score(front, "x")
    assert (answer.status_code, answer.headers["ms-azureml-model-error-statuscode"]) == (424, "400")
    assert "too long by 7 tokens" in answer.text


def test_a_change_of_the_deployment_keeps_its_flavour_and_another_model_does_not(
    workspace: Any, endpoint: str, echo: str, foundation: None, front: httpx.Client, register: Any
) -> None:
    deploy(workspace, endpoint, echo, environment_variables={"A": "B"})
    assert score(front, "x").json() == {"output": "echo|x|1"}
    deploy(workspace, endpoint, register("other"))
    assert score(front, "x").json() == [{"0": "other|x|1"}]


@pytest.mark.parametrize(
    ("metadata", "flavour"),
    [
        ({BASE_IMAGE: IMAGE}, FOUNDATION),
        ({BASE_IMAGE: "mcr.microsoft.com/azureml/curated/foundation-model-inference"}, FOUNDATION),
        ({BASE_IMAGE: "mcr.microsoft.com/azureml/curated/ai-ml-automl:41"}, MLFLOW),
        ({BASE_IMAGE: None}, MLFLOW),
        ({}, MLFLOW),
        (None, MLFLOW),
    ],
)
def test_a_models_own_image_decides(tmp_path: Path, metadata: dict[str, Any] | None, flavour: str) -> None:
    folder = write_echo_model(tmp_path / "model", "x")
    document = yaml.safe_load((folder / "MLmodel").read_text())
    (folder / "MLmodel").write_text(yaml.safe_dump(document | {"metadata": metadata}))
    assert flavour_of(folder) == flavour


def test_what_serves_is_remembered_with_its_flavour_or_its_script() -> None:
    for launch in (Launch("/models/a", {"A": "B"}, FOUNDATION), Launch("/models/a", {}, code="/code", script="s.py")):
        assert Launch.from_document(launch.document()) == launch
    assert Launch.from_document({"folder": "/models/a", "environment": {}}) == Launch("/models/a", {}, MLFLOW)
