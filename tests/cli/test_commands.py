"""The commands about what has been made: asked, copied, compared, listed, and given up only when somebody says so."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner, Result

from phi_assets.__main__ import main
from phi_assets.azureml.connection.client import Workspace
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator.process import Connection
from phi_assets.graph.training.assets import JOB_TAG
from tests.emulator_requests import Requests
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import NAME, write_toy_recipe

ENDPOINT = "commands-completion"


@dataclass(frozen=True)
class World:
    """A recipe whose model is live, after two jobs, and the instance that has recorded them."""

    emulator: Connection
    env: dict[str, str]
    jobs: tuple[str, str]

    def run(self, *arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(main, list(arguments), input=typed, env=self.env, catch_exceptions=False)


@pytest.fixture(scope="module")
def world(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("commands")
    home = folder / "instance"
    home.mkdir()
    changes = {"serving": {"endpoint": ENDPOINT, "model_name": "of-commands"}, "compute": {"name": "commands"}}
    recipe, jobs = folder / "recipe.yaml", []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for prefix in ("first: ", "second: "):
            write_toy_recipe(recipe, {**changes, "parameters": {"prefix": prefix}})
            # Recipes are read once; each is a file of its own.
            named = recipe.rename(folder / f"{prefix.strip(': ')}.yaml")
            result = Graph(emulator.directory.parent, named, folder / "storage", instance).run()
            assert result.success, failure_message(result)
            run = instance.get_run_by_id(result.run_id)
            assert run is not None
            jobs.append(run.tags[JOB_TAG])
    env = {
        "PHI_HOME": str(emulator.directory.parent),
        "PHI_STORAGE": str(folder / "storage"),
        "PHI_RECIPE": str(named),
        "DAGSTER_HOME": str(home),
    }
    world = World(emulator, env, (jobs[0], jobs[1]))
    yield world
    world.run("teardown", "--yes")


def test_a_question_is_answered_by_the_live_model(world: World) -> None:
    asked = world.run("ask", "Where is it?")
    assert (asked.exit_code, asked.stdout) == (0, "second: Where is it?\n")
    assert world.run("ask", "-", typed="Where?\n").stdout == "second: Where?\n"


def test_a_conversation_goes_on_until_an_empty_line(world: World) -> None:
    talked = world.run("chat", typed="One\nTwo\n\n")
    assert (talked.exit_code, talked.stdout) == (0, "second: One\nsecond: Two\n")


def test_without_live_traffic_one_message_says_what_to_do(world: World, tmp_path: Path) -> None:
    other = write_toy_recipe(tmp_path / "other.yaml", {"serving": {"endpoint": "nobody-made-it"}}, name="other")
    asked = world.run("ask", "Where?", "--recipe", str(other))
    assert asked.exit_code == 1
    assert asked.stderr.startswith("Error: Recipe other has no endpoint with live traffic in workspace ")


def test_a_model_is_copied_whole_or_not_at_all(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "model"
    copied = world.run("export", "--to", str(copy))
    assert copied.exit_code == 0, copied.output
    assert copied.stdout.startswith("Model of-commands:")
    assert (copy / "MLmodel").stat().st_size > 0
    assert [path.name for path in copy.parent.iterdir()] == ["model"]
    again = world.run("export", "--to", str(copy))
    assert again.exit_code == 1
    assert "is there already; name another folder" in again.stderr
    absent = world.run("export", "--to", str(tmp_path / "absent"), "--version", "7")
    assert absent.exit_code == 1
    assert "has no model of-commands:7" in absent.stderr
    assert not (tmp_path / "absent").exists()


def test_jobs_are_compared_by_what_differs(world: World) -> None:
    first, second = world.jobs
    shown = world.run("compare").stdout.splitlines()
    assert "prefix" in shown[0]
    assert "seed" not in shown[0]
    assert [line.split()[:2] for line in shown[1:]] == [[NAME, second], [NAME, first]]
    assert "went live last" in shown[1]
    found = json.loads(world.run("compare", first, "--json").stdout)
    assert [each["job"] for each in found] == [first]
    assert found[0]["inputs"]["prefix"] == "first: "
    assert found[0]["chrf"] is not None
    strange = world.run("compare", "no-such-job")
    assert (strange.exit_code, "no-such-job" in strange.stderr) == (1, True)


def test_models_of_the_registry_are_listed_with_their_sizes(world: World) -> None:
    shown = world.run("models", "toy")
    assert shown.exit_code == 0, shown.output
    header, *lines = shown.stdout.splitlines()
    assert header.split()[0] == "model"
    assert any(line.startswith("toy-model:") for line in lines), shown.stdout
    assert "has no model for chat completion with 'nothing-like-it'" in world.run("models", "nothing-like-it").stdout


def test_nothing_is_deleted_before_somebody_says_yes(world: World) -> None:
    with Requests(world.emulator) as requests:
        listed = world.run("teardown", "--dry-run")
        refused = world.run("teardown", typed="n\n")
    assert (listed.exit_code, refused.exit_code) == (0, 1)
    assert "Delete what is listed of toy? [y/N]" in refused.stderr
    assert ENDPOINT in listed.stdout
    assert requests.writes == []


def test_runs_of_commands_are_listed_where_the_ui_looks_for_them(world: World) -> None:
    assert world.run("still-billing").exit_code == 0
    with dg.DagsterInstance.from_config(world.env["DAGSTER_HOME"]) as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="list_billing"), limit=1)
    named = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    own = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert named["location_name"] == own["code_location_name"]
    # By the tag it is listed on its job's page, by the origin on the timeline.
    assert run.tags[".dagster/repository"] == f"__repository__@{named['location_name']}"
    assert run.remote_job_origin is not None
    assert run.remote_job_origin.location_name == named["location_name"]
    assert run.status is dg.DagsterRunStatus.SUCCESS


def test_the_documentation_is_at_hand() -> None:
    pages = CliRunner().invoke(main, ["docs"])
    assert "reference/recipe" in pages.stdout
    page = CliRunner().invoke(main, ["docs", "exactly-once"])
    assert page.stdout.startswith("# Exactly once")
    unclear = CliRunner().invoke(main, ["docs", "re"])
    assert (unclear.exit_code, "names" in unclear.stderr) == (1, True)


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_says_what_it_does(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert shown.stdout.startswith("Usage: ")
    assert len(shown.stdout.splitlines()) > 5
