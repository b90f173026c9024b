"""A model of any kind behind a scoring script of its own: `init()` once, `run()` for each request."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError

from phi_assets.emulator.control import Control
from tests.emulator.serving.conftest import ml, set_traffic

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

SCORE = """
import json, os, pathlib
from helper import double

def init():
    global factor
    place = pathlib.Path(os.environ["AZUREML_MODEL_DIR"], "model", "factor.json")
    factor = json.loads(place.read_text()) * int(os.environ["SCALE"])
    print("init was here")

def run(raw_data):
    numbers = json.loads(raw_data)["numbers"]
    return {"scaled": [double(number) * factor for number in numbers], "type": type(raw_data).__name__}
"""


@pytest.fixture
def deployment(endpoint: str, tmp_path: Path) -> Any:
    """A deployment of a model that is a folder with one number, and a script that reads it."""
    from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment, Model

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "factor.json").write_text("3")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(SCORE)
    (tmp_path / "code" / "helper.py").write_text("double = lambda number: 2 * number\n")
    return ManagedOnlineDeployment(
        name="scripted",
        endpoint_name=endpoint,
        model=Model(path=str(tmp_path / "model"), type="custom_model"),
        code_configuration=CodeConfiguration(code=str(tmp_path / "code"), scoring_script="score.py"),
        environment=Environment(image="mcr.example/python:1"),
        environment_variables={"SCALE": "10"},
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )


def test_a_scoring_script_answers(
    workspace: "Workspace", endpoint: str, front: httpx.Client, deployment: Any, control: Control
) -> None:
    made = ml(workspace).online_deployments.begin_create_or_update(deployment).result()
    assert (made.provisioning_state, made.code_configuration.scoring_script) == ("Succeeded", "score.py")
    set_traffic(workspace, endpoint, scripted=100)
    assert front.post("/score", json={"numbers": [1, 2]}).json() == {"scaled": [60, 120], "type": "str"}
    failed = front.post("/score", json={"other": []})
    assert failed.status_code == 424
    assert failed.headers["ms-azureml-model-error-statuscode"] == "500"
    assert "error occurred in scoring script" in failed.json()["error"]["message"]
    logs = ml(workspace).online_deployments.get_logs("scripted", endpoint, lines=100)
    assert "init was here" in logs
    assert "KeyError: 'numbers'" in logs
    control.add_scenario("deployment", match=f"{endpoint}/scripted", scenario="model_error", status=503)
    assert front.post("/score", json={"numbers": []}).headers["ms-azureml-model-error-statuscode"] == "503"


@pytest.mark.parametrize(
    ("code", "script", "says"),
    [
        ("def init(): raise ValueError('no weights')\ndef run(text): pass\n", "score.py", "ValueError: no weights"),
        ("def init(): pass\n", "score.py", r"score.py has no function run\(\)"),
        ("", "../score.py", "not in the code"),
    ],
)
def test_a_script_that_cannot_serve_says_why(
    workspace: "Workspace", deployment: Any, tmp_path: Path, code: str, script: str, says: str
) -> None:
    from azure.ai.ml.entities import CodeConfiguration

    (tmp_path / "code" / "score.py").write_text(code)
    (tmp_path / "score.py").touch()
    deployment.code_configuration = CodeConfiguration(code=str(tmp_path / "code"), scoring_script=script)
    with pytest.raises(HttpResponseError, match=says):
        ml(workspace).online_deployments.begin_create_or_update(deployment).result()
