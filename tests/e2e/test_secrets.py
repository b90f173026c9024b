"""No key, token or signature is in any event, log, metadata, file or exception of whole runs, also of failed ones."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.e2e.harness.leaks import Leaks, secrets_of
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import write_toy_recipe

pytestmark = pytest.mark.slow

CANARY = "c4n4ryOfASignature0123456789"
SAS_URL = f"https://account.example/logs/build.txt?sv=2022-11-02&sp=r&sig={CANARY}"


class World:
    """The toy graph over a Dagster instance on disk, whose files are what everybody reads."""

    def __init__(self, emulator: Connection, folder: Path) -> None:
        self.emulator, self.folder = emulator, folder
        (folder / "dagster").mkdir()
        self.instance = dg.DagsterInstance.local_temp(str(folder / "dagster"))
        self.secrets = {"planted signature": CANARY} | secrets_of(emulator)

    def graph(self, name: str, **changes: Any) -> Graph:
        sections = {"serving": {"endpoint": f"secret-{name}"}, "parameters": {"prefix": f"{name}: "}, **changes}
        recipe = write_toy_recipe(self.folder / f"{name}.yaml", sections)
        return Graph(self.emulator.directory.parent, recipe, self.folder / "storage", self.instance)

    def learn(self) -> None:
        """The keys that there are now are secrets from now on."""
        self.secrets |= secrets_of(self.emulator)

    def leaks(self, *texts: str) -> list[str]:
        """What is where it must not be: in anything that Dagster or this project has written, or in the texts."""
        leaks = Leaks(self.secrets)
        home = self.emulator.directory.parent
        found = [*leaks.in_folder(self.folder), *leaks.in_folder(home, without=[self.emulator.directory])]
        found += leaks.in_folder(self.emulator.directory / "deployments")
        for log in (*self.emulator.directory.glob("*.log"), self.emulator.directory / "serve.out"):
            found += leaks.in_text(log.read_bytes(), log.name)
        for number, text in enumerate(texts):
            found += leaks.in_text(text, f"text {number}")
        return found

    def exceptions(self) -> str:
        """Every error of every run, with all that led to it, as the UI shows it."""
        lines: list[str] = []
        for run in self.instance.get_runs():
            for entry in self.instance.all_logs(run.run_id):
                event = entry.dagster_event
                if event is not None and event.is_step_failure:
                    failure = event.step_failure_data
                    lines += [failure.error.to_string() if failure.error else "", str(failure.user_failure_data)]
        return "\n".join(lines)


@pytest.fixture
def world(emulator: Connection, toy_registry: Path, tmp_path: Path) -> Iterator[World]:
    world = World(emulator, tmp_path)
    yield world
    world.instance.dispose()
    with Control(emulator) as control:
        control.reset()


def test_a_whole_run_and_its_end_tell_no_secret(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = world.graph("good")
    with caplog.at_level(logging.INFO):
        for job in ("finetune_and_deploy", "list_billing"):
            result = graph.run(job)
            assert result.success, failure_message(result)
            world.learn()
        result = graph.run("teardown", tear_down_recipe={"models": True})
        assert result.success, failure_message(result)
    printed = capfd.readouterr()
    assert len(world.secrets) >= 5, "the run has had no keys"
    assert world.leaks(caplog.text, printed.out, printed.err) == []
    assert_that_the_scan_reads_what_was_written(world, "good")


def assert_that_the_scan_reads_what_was_written(world: World, name: str) -> None:
    """So that an empty result means something: what is known to be there is found in all the places."""
    files = list(Leaks({"endpoint": f"secret-{name}"}).in_folder(world.folder))
    for part in ("history", "storage", f"{name}.yaml"):
        assert any(part in line for line in files), part
    step = Leaks({"log line": "evaluating on validation"})
    assert any("compute_logs" in line or "storage" in line for line in step.in_folder(world.folder))


@pytest.mark.parametrize(
    "secret", [SAS_URL, "Authorization: Bearer abcdefghijklmnopqrstuv", "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJo.c2lnbmF0"]
)
def test_the_scan_knows_a_secret_by_its_form(secret: str) -> None:
    assert Leaks({}).in_text(secret, "here")


FAILURES: dict[str, dict[str, Any]] = {
    "image": {"scenario": {"scenario": "ImageBuildFailure", "message": f"The build log is at {SAS_URL}"}},
    "quota": {"scenario": {"scenario": "OutOfQuota", "message": f"No cores are left. {SAS_URL}\nAccountKey={CANARY}"}},
    "upload": {
        "fault": {"plane": "blob", "method": "PUT", "action": "status", "status": 403},
        # A sample that nothing else has uploaded.
        "changes": {"sample": {"percent": 13}},
    },
    "secrets": {"fault": {"method": "POST", "path": "(?i)/listsecrets$", "action": "status", "status": 403}},
    "keys": {"fault": {"method": "POST", "path": "(?i)/listkeys$", "action": "status", "status": 403}},
    "logs": {"fault": {"plane": "blob", "method": "GET", "action": "status", "status": 403}},
    "score": {"fault": {"plane": "scoring", "action": "status", "status": 400}},
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_run_tells_no_secret(
    world: World, control: Control, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    failure = FAILURES[name]
    if "scenario" in failure:
        control.add_scenario("deployment", match=f"secret-{name}/*", count=None, **failure["scenario"])
    else:
        control.add_fault(**failure["fault"])
    with caplog.at_level(logging.INFO):
        result = world.graph(name, **failure.get("changes", {})).run()
    control.clear_faults()
    control.clear_scenarios()
    assert not result.success
    world.learn()
    said = world.exceptions()
    assert failure_message(result).split("\n", maxsplit=1)[0][:40] in said
    if "scenario" in failure:
        # It was there to be told.
        assert "sig=***" in said
    assert world.leaks(said, caplog.text, failure_message(result)) == []
