"""Single command jobs and components of the workspace, with code and environment, through the unmodified SDK."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from phi_assets.emulator.process import Connection
from tests.emulator.jobs import until

SCRIPT = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
for name in ("data", "times", "result"):
    parser.add_argument("--" + name)
arguments = parser.parse_args()
text = pathlib.Path(arguments.data).read_text() * int(arguments.times)
print("read", len(text), "characters")
pathlib.Path(arguments.result, "text.json").write_text(json.dumps([text, os.environ.get("GREETING")]))
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/notes.txt").write_text("kept")
"""
COMMAND = "python main.py --data ${{inputs.data}} --times ${{inputs.times}} --result ${{outputs.result}}"
IMAGE = "mcr.example/python:1"


@pytest.fixture(scope="module")
def ml(workspace: Any) -> Any:
    """Untyped, because the SDK's annotations name every class that a call might return."""
    return workspace.ml


@pytest.fixture(scope="module")
def cluster(ml: Any) -> str:
    from azure.ai.ml.entities import AmlCompute

    ml.compute.begin_create_or_update(AmlCompute(name="commands", size="Standard_DS3_v2")).result()
    return "commands"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Code and data."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "src").mkdir()
    (folder / "src" / "main.py").write_text(SCRIPT)
    (folder / "data.txt").write_text("ab")
    return folder


@pytest.fixture(scope="module")
def command_of(folder: Path, cluster: str) -> Callable[..., Any]:
    def command_of(text: str = COMMAND, **changes: Any) -> Any:
        from azure.ai.ml import Input, Output, command
        from azure.ai.ml.entities import Environment

        settings: dict[str, Any] = {
            "command": text,
            "code": str(folder / "src"),
            "inputs": {"data": Input(type="uri_file", path=str(folder / "data.txt")), "times": 2},
            "outputs": {"result": Output(type="uri_folder")},
            "environment": Environment(image=IMAGE),
            "environment_variables": {"GREETING": "hello"},
            "compute": cluster,
            "display_name": "doubled",
        }
        return command(**settings | changes)

    return command_of


@pytest.fixture(scope="module")
def completed(ml: Any, command_of: Callable[..., Any]) -> Any:
    job = ml.jobs.create_or_update(command_of())
    ml.jobs.stream(job.name)
    return ml.jobs.get(job.name)


def test_a_command_job_runs_its_code(ml: Any, completed: Any, cluster: str, tmp_path: Path) -> None:
    assert (completed.type, completed.status, completed.compute) == ("command", "Completed", cluster)
    assert completed.environment_variables == {"GREETING": "hello"}
    assert list(ml.jobs.list(parent_job_name=completed.name)) == []
    ml.jobs.download(completed.name, output_name="result", download_path=tmp_path)
    text = (tmp_path / "named-outputs" / "result" / "text.json").read_text()
    assert json.loads(text) == ["abab", "hello"]


def test_its_log_and_what_it_wrote_to_outputs_are_its_artifacts(ml: Any, completed: Any, tmp_path: Path) -> None:
    ml.jobs.download(completed.name, download_path=tmp_path)
    assert "read 4 characters" in (tmp_path / "artifacts" / "user_logs" / "std_log.txt").read_text()
    assert (tmp_path / "artifacts" / "outputs" / "notes.txt").read_text() == "kept"


def test_its_page_shows_it(emulator: Connection, completed: Any) -> None:
    with httpx.Client(base_url=emulator.studio_url, trust_env=False) as studio:
        page = studio.get(f"/runs/{completed.name}").raise_for_status().text
        assert "read 4 characters" in page
        assert completed.name in studio.get("/jobs").raise_for_status().text


def test_a_command_is_run_by_a_shell(ml: Any, command_of: Callable[..., Any], tmp_path: Path) -> None:
    lines = """
    # It's several lines, which do what a shell does.
    NAME="$GREETING ${{inputs.who}}" && cd / && echo "$NAME from $PWD" | tr a-z A-Z > ${{outputs.result}}/said.txt
    false || python -c 'import sys; print(sys.executable)' >> '${{outputs.result}}/said.txt'
    """
    job = ml.jobs.create_or_update(command_of(lines, inputs={"who": 'you & "me"'}))
    ml.jobs.stream(job.name)
    ml.jobs.download(job.name, output_name="result", download_path=tmp_path)
    said = (tmp_path / "named-outputs" / "result" / "said.txt").read_text().splitlines()
    assert said[0] == 'HELLO YOU & "ME" FROM /'
    assert Path(said[1]).parent == Path(sys.executable).parent


def test_a_distributed_job_is_as_many_processes(ml: Any, command_of: Callable[..., Any], tmp_path: Path) -> None:
    names = ("MASTER_PORT", "RANK", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")
    text = f"echo {' '.join(f'${name}' for name in names)}"
    distribution = {"type": "pytorch", "process_count_per_instance": 2}
    job = command_of(text, inputs={}, outputs={}, distribution=distribution, instance_count=1)
    name = ml.jobs.create_or_update(job).name
    ml.jobs.stream(name)
    ml.jobs.download(name, download_path=tmp_path)
    logs = sorted((tmp_path / "artifacts" / "user_logs").glob("std_log_process_*.txt"))
    assert [log.name[-6:-4] for log in logs] == ["00", "01"]
    ports, said = zip(*(log.read_text().split(maxsplit=1) for log in logs), strict=True)
    assert (len(set(ports)), *said) == (1, "0 0 0 2 127.0.0.1\n", "1 0 1 2 127.0.0.1\n")


def test_a_command_that_fails_fails_the_job(ml: Any, command_of: Callable[..., Any]) -> None:
    from azure.ai.ml.exceptions import JobException

    failing = "python -c \"raise SystemExit('ERROR: no luck')\""
    job = ml.jobs.create_or_update(command_of(failing, inputs={}, outputs={}))
    with pytest.raises(JobException, match="no luck"):
        ml.jobs.stream(job.name)
    assert ml.jobs.get(job.name).status == "Failed"


def test_a_command_job_is_itself_queued_while_its_cluster_has_no_node(
    ml: Any, command_of: Callable[..., Any], jobs: Any, cluster: str
) -> None:
    most = {"properties": {"properties": {"scaleSettings": {"maxNodeCount": 0}}}}
    jobs.client.patch(f"/computes/{cluster}", json=most).raise_for_status()
    name = ml.jobs.create_or_update(command_of()).name
    until(lambda: jobs.status(name) == "Queued", "it to queue")
    ml.jobs.begin_cancel(name).result()
    assert jobs.status(name) == "Canceled"
    most["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = 1
    jobs.client.patch(f"/computes/{cluster}", json=most).raise_for_status()


def test_a_command_job_is_cancelled_when_its_time_is_over(ml: Any, command_of: Callable[..., Any], jobs: Any) -> None:
    job = command_of('python -c "import time; time.sleep(60)"', inputs={}, outputs={})
    job.set_limits(timeout=1)
    name = ml.jobs.create_or_update(job).name
    assert jobs.ended(name) == "Canceled"
    assert "timeout of 1.0 seconds" in jobs.history(f"runs/{name}").json()["cancelationReason"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"environment": "azureml:nobody:1"}, "nobody"),
        ({"compute": "nobody"}, "no compute 'nobody'"),
        ({"text": "python main.py --data ${{inputs.other}}"}, "does not contain 'other'"),  # the SDK looks itself
    ],
)
def test_a_command_job_that_cannot_run_is_refused(
    ml: Any, command_of: Callable[..., Any], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Exception, match=says):
        ml.jobs.create_or_update(command_of(**changes))


def test_a_component_of_the_workspace_is_used_in_a_pipeline(
    ml: Any, command_of: Callable[..., Any], folder: Path, cluster: str, tmp_path: Path
) -> None:
    from azure.ai.ml import Input, dsl, load_component

    yaml = tmp_path / "component.yaml"
    yaml.write_text(
        f"""
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
name: double
type: command
inputs:
  data: {{type: uri_file}}
  times: {{type: integer, default: 2, max: 5}}
outputs:
  result: {{type: uri_folder}}
code: {folder / "src"}
environment: {{image: {IMAGE}}}
command: >-
  {COMMAND}
"""
    )
    first = ml.components.create_or_update(load_component(str(yaml)))
    assert (first.name, first.version) == ("double", "1")
    again = ml.components.get("double", "1")
    assert (again.inputs["times"].default, again.command.strip()) == (2, COMMAND)
    second = ml.components.create_or_update(load_component(str(yaml)), version="2")
    assert [each.version for each in ml.components.list("double")] == ["2", "1"]
    assert "double" in [each.name for each in ml.components.list()]
    assert ml.components.get("double", label="latest").version == second.version
    default = ml.components.get("double")
    assert (default.version, default.id.endswith("/components/double/labels/default")) == ("2", True)
    third = ml.components.create_or_update(load_component(str(yaml)))  # numbered by the service
    assert re.fullmatch(r"\d{4}(-\d\d){5}-\d{7}", third.version)
    changed = load_component(str(yaml), params_override=[{"version": "1"}, {"display_name": "Twice"}])
    assert ml.components.create_or_update(changed).display_name == "Twice"
    anonymous = ml.components.create_or_update(load_component(str(yaml)), is_anonymous=True)
    assert (anonymous.name, "/components/azureml_anonymous/" in anonymous.id) == ("double", True)

    decorator: Any = dsl.pipeline

    @decorator(name="doubles", default_compute=cluster)
    def create() -> dict[str, Any]:
        step = default(data=Input(type="uri_file", path=str(folder / "data.txt")))
        step.environment_variables = {"GREETING": "hi"}
        # One without a name of its own.
        other = command_of().component(data=Input(type="uri_file", path=str(folder / "data.txt")), times=3)
        return {"result": step.outputs.result, "other": other.outputs.result}

    job = ml.jobs.create_or_update(create())
    ml.jobs.stream(job.name)
    ml.jobs.download(job.name, all=True, download_path=tmp_path)
    results = {name: json.loads((tmp_path / "named-outputs" / name / "text.json").read_text()) for name in job.outputs}
    assert results == {"result": ["abab", "hi"], "other": ["ababab", None]}


def test_a_component_keeps_its_definition_and_other_kinds_are_not_built(jobs: Any) -> None:
    spec = {"type": "command", "command": "echo", "environment": "azureml:nobody:1"}
    environment = {"properties": {"image": IMAGE}}
    jobs.client.put("/environments/for-components/versions/1", json=environment).raise_for_status()
    path = "/components/kept/versions/1"
    assert jobs.client.put(path, json={"properties": {"componentSpec": spec}}).status_code == 404
    spec["environment"] = "azureml:for-components:1"
    assert jobs.client.put(path, json={"properties": {"componentSpec": spec}}).status_code == 201
    assert jobs.client.put(path, json={"properties": {"componentSpec": spec}}).status_code == 200
    for changes, status in (({"command": "env"}, 400), ({"type": "spark"}, 501)):
        answer = jobs.client.put(path, json={"properties": {"componentSpec": spec | changes}})
        assert answer.status_code == status
    assert jobs.put("a-sweep", {"jobType": "Sweep"}).status_code == 501


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"environmentId": None}, "no environment"),
        ({"environmentId": "azureml:nobody:1"}, "nobody:1"),
        ({"codeId": "azureml:nobody:1"}, "'azureml:nobody:1' is not the id of code"),
        ({"command": "python ${{inputs.x}} ${{outputs.y}}"}, "inputs.x, outputs.y"),
        ({"command": ""}, "empty command"),
        ({"limits": {"timeout": "soon"}}, "limits.timeout 'soon'"),
        ({"resources": {"instanceCount": 0}}, "instance count"),
        ({"distribution": {"distributionType": "PyTorch", "processCountPerInstance": 0}}, "process count per instance"),
        ({"inputs": {"x": {"jobInputType": "uri_file", "uri": "ftp://somewhere"}}}, "Input 'x'"),
    ],
)
def test_a_command_job_that_says_nonsense_is_refused(jobs: Any, changes: dict[str, Any], says: str) -> None:
    jobs.client.put("/environments/for-commands/versions/1", json={"properties": {"image": IMAGE}}).raise_for_status()
    body = {"jobType": "Command", "command": "echo", "environmentId": "azureml:for-commands:1"}
    answer = jobs.put("nonsense", body | changes)
    assert answer.status_code in {400, 404}
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "distribution",
    [{"distributionType": "Mpi"}, {"distributionType": "PyTorch", "processCountPerInstance": 1000}],
)
def test_a_distribution_that_is_not_built_is_501(jobs: Any, distribution: dict[str, Any]) -> None:
    jobs.client.put("/environments/for-commands/versions/1", json={"properties": {"image": IMAGE}}).raise_for_status()
    body = {"jobType": "Command", "command": "echo", "environmentId": "azureml:for-commands:1"}
    answer = jobs.put("distributed", body | {"distribution": distribution})
    assert answer.status_code == 501
    assert "This emulator runs" in answer.json()["error"]["message"]
