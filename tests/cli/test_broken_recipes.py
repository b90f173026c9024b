"""A recipe that cannot work ends in a few lines, the last of which say what is wrong and what to do."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from phi_assets.__main__ import main
from phi_assets.azureml.connection.client import Workspace
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator.process import Connection
from tests.toy_graph import write_toy_recipe

MOST_LINES = 24
"""Of a terminal that nobody has made larger."""

Changes = dict[str, dict[str, Any]]

AT_ONCE: dict[str, tuple[Changes, str]] = {
    "unknown key": ({"serving": {"endpont": "a"}}, "serving.endpont"),
    "unknown section": ({"servng": {}}, "servng"),
    "wrong type": ({"sample": {"percent": "much"}}, "sample.percent"),
    "out of range": ({"sample": {"percent": 500}}, "sample.percent"),
    "illegal endpoint name": ({"serving": {"endpoint": "No Name!"}}, "serving.endpoint"),
    "steps without an end": ({"rollout": {"steps": [10, 50]}}, "rollout.steps"),
    "no such choice": ({"finetune": {"wait": "never"}}, "finetune.wait"),
}
"""Seen when the recipe is read."""

AT_PREFLIGHT: dict[str, tuple[Changes, str]] = {
    "unknown parameter": ({"parameters": {"learning_rte": 1}}, "learning_rte"),
    "no such model": ({"model": {"name": "no-such-model"}}, "no-such-model"),
    "no such component": ({"component": {"name": "no-such-component"}}, "no-such-component"),
    "size that the model does not run on": ({"compute": {"size": "Standard_NC6s_v3"}}, "Standard_NC6s_v3"),
    "size that does not serve the model": ({"serving": {"instance_type": "Standard_NC6s_v3"}}, "Standard_NC6s_v3"),
}
"""Seen when the service is asked."""


@pytest.fixture(scope="module")
def env(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "instance").mkdir()
    shutil.copy(PROJECT_ROOT / "phi_assets" / "dagster.yaml", folder / "instance")
    return {
        "PHI_HOME": str(emulator.directory.parent),
        "PHI_STORAGE": str(folder / "storage"),
        "DAGSTER_HOME": str(folder / "instance"),
    }


@pytest.mark.parametrize("case", AT_ONCE)
def test_what_the_recipe_itself_shows_is_said_without_a_run(env: dict[str, str], tmp_path: Path, case: str) -> None:
    changes, named = AT_ONCE[case]
    recipe = write_toy_recipe(tmp_path / "broken.yaml", changes)
    ended = CliRunner().invoke(main, ["materialize", "--recipe", str(recipe)], env=env)
    lines = ended.output.splitlines()
    assert ended.exit_code == 1
    assert len(lines) <= 4, ended.output
    assert named in ended.output
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("case", AT_PREFLIGHT)
def test_what_the_service_shows_stands_in_the_last_lines(
    env: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    changes, named = AT_PREFLIGHT[case]
    recipe = write_toy_recipe(tmp_path / "broken.yaml", changes)
    ended = CliRunner().invoke(main, ["preflight", "--recipe", str(recipe)], env=env)
    # The lines about assets go to the terminal itself, past what the runner sees.
    lines = [*capfd.readouterr().err.splitlines(), *ended.output.splitlines()]
    assert ended.exit_code == 1
    assert len(lines) <= MOST_LINES, "\n".join(lines)
    assert any(named in line for line in lines[-4:]), lines
    assert not any("Not executing" in line or "Traceback" in line for line in lines)
