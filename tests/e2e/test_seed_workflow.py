"""Somebody else's program, written for Azure ML, runs against the emulator by its environment variables alone."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from phi_assets.azureml.connection.arm import arm_delete
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import get_or_none, silent
from phi_assets.emulator.process import Connection

SCRIPT = Path(__file__).with_name("seed_workflow.py")
DATA = Path(__file__).parents[2] / "phi_assets" / "dataset" / "bundled" / "data"

# Python runs a `sitecustomize` module before the program; this one writes down every address that is connected to.
WITNESS = """\
import os
import sys


def witness(event, arguments):
    if event == "socket.connect":
        with open(os.environ["WITNESS_FILE"], "a") as file:
            file.write(f"{arguments[1]!r}\\n")


sys.addaudithook(witness)
"""


def exported_by_the_emulator(emulator: Connection) -> dict[str, str]:
    """The variables that `python -m phi_assets.emulator env` prints for `eval`."""
    printed = subprocess.run(
        [sys.executable, "-m", "phi_assets.emulator", "env"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    variables = {}
    for line in printed.splitlines():
        keyword, assignment = shlex.split(line)
        assert keyword == "export"
        name, _, value = assignment.partition("=")
        variables[name] = value
    assert variables["IDENTITY_ENDPOINT"] == emulator.identity_endpoint
    return variables


@pytest.mark.slow
def test_the_notebooks_workflow_runs_unchanged(emulator: Connection, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "witness").mkdir()
    (tmp_path / "witness" / "sitecustomize.py").write_text(WITNESS)
    connections, result_file = tmp_path / "connections", tmp_path / "result.json"
    environment = {
        **{name: value for name, value in os.environ.items() if name != "AZUREML_CURRENT_CLOUD"},
        **exported_by_the_emulator(emulator),
        "PYTHONPATH": str(tmp_path / "witness"),
        "WITNESS_FILE": str(connections),
    }
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--data", str(DATA), "--result", str(result_file)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"

    result = json.loads(result_file.read_text())
    assert result["job_status"] == "Completed"
    assert result["display_name"].startswith("Phi-3-mini-4k-instruct-ultrachat-bs1-cosine-ds2-lora-save_limit1-seqlen")
    assert result["registered_model"].rpartition("/versions/")[2] == result["endpoint"].rpartition("-")[2]
    (answer,) = result["response"][0].values()
    assert isinstance(answer, str)
    assert answer.strip()
    assert len(result["endpoint"]) <= 32
    assert get_or_none(lambda: workspace.ml.online_endpoints.get(result["endpoint"])) is None

    # The shipped recipes have this name too, and preflight calls it taken where it is not theirs.
    arm_delete(workspace, result["registered_model"].partition("/workspaces/")[2].partition("/")[2], silent)
    contacts = set(connections.read_text().splitlines())
    assert contacts
    assert {contact for contact in contacts if f", {emulator.port}" not in contact} == set()
    assert all("127.0.0.1" in contact or "::1" in contact for contact in contacts)
