"""Two recipes in one Dagster instance, at work at the same time: nothing of one reaches the other."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.emulator import process
from tests.azureml.toys import write_registry
from tests.e2e.harness.by_hand import DagsterByHand
from tests.e2e.harness.run_records import FINISHED
from tests.toy_graph import write_toy_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

S = dg.DagsterRunStatus

ROUNDS = int(os.environ.get("PHI_TEST_ROUNDS", "2"))
LONGEST_LEAD_SECONDS = 6.0
"""About what a run takes up to the job that it submits."""


@dataclass
class World:
    """A code location with the recipes `one` and `two`, which differ in what their models say first."""

    home: Path
    dagster: DagsterByHand
    env: dict[str, str]

    def write(self, name: str, says: str) -> Path:
        changes = {"parameters": {"prefix": says}, "serving": {"endpoint": f"toy-{name}"}}
        return write_toy_recipe(self.home / f"{name}.yaml", changes, name)

    def command(self, recipe: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-m", "phi_assets", "materialize", "--recipe", str(self.home / f"{recipe}.yaml")]
        log = (self.home / "command.log").open("a", encoding="utf-8")
        return subprocess.Popen(arguments, env=self.env, cwd=PROJECT_ROOT, stdout=log, stderr=log, text=True)

    def newest(self, recipe: str, asset: str) -> dict[str, Any]:
        return self.dagster.metadata(self.dagster.materializations(f"{recipe}/{asset}")[0])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("two")
    connection = process.ensure_running(home / "emulator")
    try:
        write_registry(connection.directory / "registry")
        env = {
            "PHI_HOME": str(home),
            "PHI_STORAGE": str(home / "storage"),
            "PHI_RECIPE": f"{home}/one.yaml,{home}/two.yaml",
        }
        dagster = DagsterByHand(home, env)
        world = World(home, dagster, dagster.env)
        world.write("one", "one: ")
        world.write("two", "two: ")
        with dagster:
            yield world
    finally:
        process.stop(home / "emulator")


@pytest.mark.parametrize("number", range(ROUNDS))
def test_each_run_ends_with_what_is_its_own(world: World, number: int) -> None:
    """One by command, its recipe edited just now, the other by the UI; whoever is first, and however long before."""
    chance = random.Random(number)
    lead = chance.uniform(0, LONGEST_LEAD_SECONDS)
    world.write("one", f"one {number}: ")
    if chance.random() < 0.5:
        command = world.command("one")
        time.sleep(lead)
        run_id = world.dagster.launch("finetune_and_deploy", recipe="two")
    else:
        run_id = world.dagster.launch("finetune_and_deploy", recipe="two")
        time.sleep(lead)
        command = world.command("one")
    try:
        assert world.dagster.wait(run_id) is S.SUCCESS, world.dagster.failures(run_id)
        assert command.wait(timeout=240) == 0, (world.home / "command.log").read_text(encoding="utf-8")[-3000:]
    finally:
        command.kill()
    assert all(run.status in FINISHED for run in world.dagster.runs())
    for recipe, says in (("one", f"one {number}: "), ("two", "two: ")):
        job, model = world.newest(recipe, "finetune_job"), world.newest(recipe, "registered_model")
        deployment, scores = world.newest(recipe, "online_deployment"), world.newest(recipe, "scoring_result")
        assert model["job_name"] == job["job_name"]
        assert deployment["endpoint"] == f"toy-{recipe}"
        assert deployment["model"] == model["id"] == scores["model"]
        answers = [row["answer"] for row in read_jsonl(Path(scores["jsonl"]))]
        assert answers
        assert all(answer.startswith(says) for answer in answers), answers
    jobs = {world.newest(recipe, "finetune_job")["job_name"] for recipe in ("one", "two")}
    assert len(jobs) == 2
