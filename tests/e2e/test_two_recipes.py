"""Two recipes in one Dagster instance, by command and by the UI: nothing of one reaches the other, and none waits for
the other or for the dead.
"""

import itertools
import os
import random
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.serving.endpoints import ensure_endpoint
from phi_assets.config.recipe_files import load_recipe
from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from phi_assets.graph.automation.dead_runs import DEATH
from tests.azureml.toys import step_of, write_registry
from tests.connections import workspace_of
from tests.e2e.harness import command
from tests.e2e.harness.beside import assert_has_its_own
from tests.e2e.harness.by_hand import DagsterByHand
from tests.e2e.harness.processes import until
from tests.e2e.harness.run_records import FINISHED
from tests.toy_graph import key_of, write_toy_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

S = dg.DagsterRunStatus

ROUNDS = int(os.environ.get("PHI_TEST_ROUNDS", "2"))
LONGEST_LEAD_SECONDS = float(os.environ.get("PHI_TEST_LEAD", "6"))
"""Unless told otherwise about what a run takes up to the job that it submits."""
KILLS = 10
KILLS_SEED = int(os.environ.get("PHI_TEST_SEED", "28"))
RECORDS = 380
"""A run has recorded some 450 events at its end, before which it has to be killed."""
LONGEST_STEP_SECONDS = 0.5

WAITING = 10
PROCESSES = int(os.environ.get("PHI_TEST_WAITING", "2"))
"""How many of the waiting runs have one; the others only take their places."""
WINDOW_SECONDS = float(os.environ.get("PHI_TEST_WINDOW", "5"))
TEARDOWN_SECONDS = 30
SHARE = 0.02
"""Of a core: what a blocked run may use, and one that has waited for its job for a minute."""
SECONDS_BETWEEN_LOOKS = 0.05 * 60
"""A minute after the job's begin."""


@dataclass
class World:
    """A code location with the recipes `one` and `two`, which differ in what their models say first."""

    home: Path
    dagster: DagsterByHand
    workspace: Workspace
    control: Control

    @property
    def gate(self) -> Path:
        """Jobs go on running until this file exists."""
        return self.home / "gate"

    @property
    def log(self) -> Path:
        """What commands have printed."""
        return self.home / "command.log"

    def write(self, name: str, says: str) -> Path:
        changes = {"parameters": {"prefix": says, "gate": str(self.gate)}, "serving": {"endpoint": f"toy-{name}"}}
        return write_toy_recipe(self.home / f"{name}.yaml", changes, name)

    def command(self, recipe: str) -> BaseProcess:
        recipe_file = str(self.home / f"{recipe}.yaml")
        return command.start(self.dagster.env, self.log, "materialize", "--recipe", recipe_file)

    def assert_succeeded(self, process: BaseProcess) -> None:
        """The command has ended well, within minutes."""
        process.join(240)
        assert process.exitcode == 0, self.log.read_text(encoding="utf-8")[-3000:]

    def prepare(self, recipe: str) -> None:
        """The recipe's data has been prepared, and so has all else that its job needs."""
        if self.dagster.instance.get_latest_materialization_event(key_of(f"{recipe}/finetune_job")) is None:
            run_id = self.dagster.launch("finetune", recipe=recipe)
            assert self.dagster.wait(run_id) is S.SUCCESS, self.dagster.failures(run_id)

    def clean(self) -> None:
        """Azure ML is as new; data has been prepared, and no run is known."""
        self.control.reset()
        self.dagster.look_away()

    def runs_of(self, recipe: str) -> dict[str, dg.DagsterRunStatus]:
        """Id and status of the recipe's own runs, newest first."""
        return {run.run_id: run.status for run in self.dagster.runs() if run.job_name.startswith(f"{recipe}__")}

    def new_run(self, recipe: str, known: Collection[str]) -> str | None:
        """Id of a run of the recipe that is not among those; None where there is none."""
        return next((run_id for run_id in self.runs_of(recipe) if run_id not in known), None)

    def killed(self, recipe: str, records: int, seconds: float, known: Collection[str]) -> str:
        """Id of the run of a command that was killed so many seconds after its run had that many events on record."""
        process = self.command(recipe)
        storage = self.dagster.instance.event_log_storage
        try:
            run_id = until(lambda: self.new_run(recipe, known), 60, "The command has made no run")
            until(
                lambda: len(storage.get_records_for_run(run_id).records) > records or None, 60, f"Run {run_id} stands"
            )
            time.sleep(seconds)
            assert process.is_alive(), f"Run {run_id} has ended before it was killed"
        finally:
            process.kill()
            process.join()
        return run_id

    def watch(self, seconds: float, runs: Sequence[str]) -> tuple[int, dict[str, float]]:
        """In so many seconds: how often jobs were looked at, and the processor seconds of each of the runs."""
        workers = {run_id: psutil.Process(self.dagster.worker_pid(run_id)) for run_id in runs}
        entry, before = self.control.last_entry(), {run_id: processor_seconds(each) for run_id, each in workers.items()}
        time.sleep(seconds)
        used = {run_id: processor_seconds(each) - before[run_id] for run_id, each in workers.items()}
        return self.control.counts(since=entry)["GET /jobs/{name}"], used


def processor_seconds(worker: psutil.Process) -> float:
    """What the process and those that it has started have used so far."""
    times = [process.cpu_times() for process in (worker, *worker.children(recursive=True))]
    return sum(each.user + each.system for each in times)


@dg.job
def some_job() -> None:
    """Never executed."""


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
        with Control(connection) as control, workspace_of(connection) as workspace:
            world = World(home, DagsterByHand(home, env), workspace, control)
            world.write("one", "one: ")
            world.write("two", "two: ")
            world.gate.touch()
            with world.dagster:
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
        process = world.command("one")
        time.sleep(lead)
        run_id = world.dagster.launch("finetune_and_deploy", recipe="two")
    else:
        run_id = world.dagster.launch("finetune_and_deploy", recipe="two")
        time.sleep(lead)
        process = world.command("one")
    try:
        assert world.dagster.wait(run_id) is S.SUCCESS, world.dagster.failures(run_id)
        world.assert_succeeded(process)
    finally:
        process.kill()
    assert all(run.status in FINISHED for run in world.dagster.runs())
    one, two = (
        assert_has_its_own(world.dagster, recipe, says)
        for recipe, says in (("one", f"one {number}: "), ("two", "two: "))
    )
    assert one != two


def test_a_command_that_is_killed_ten_times_does_nothing_twice(world: World) -> None:
    """At random moments of what its run does, each further on than the one before."""
    world.clean()
    chance = random.Random(KILLS_SEED)
    killed: list[str] = []
    for moment in sorted(chance.sample(range(RECORDS), KILLS)):
        killed.append(world.killed("one", moment, chance.choice([0, LONGEST_STEP_SECONDS]) * chance.random(), killed))
    world.assert_succeeded(world.command("one"))
    runs = world.runs_of("one")
    assert runs == {**dict.fromkeys(killed, S.FAILURE), world.new_run("one", killed): S.SUCCESS}
    for run_id in killed:
        assert DEATH in world.dagster.failures(run_id)
    assert not [
        run_id for run_id in runs for entry in world.dagster.events(run_id) if "waits for pool" in entry.message
    ]
    ml: Any = world.workspace.ml
    (job,), (model,), (endpoint,) = ml.jobs.list(), ml.models.list(), ml.online_endpoints.list()
    (version,), (deployment,) = ml.models.list(name=model.name), ml.online_deployments.list(endpoint_name=endpoint.name)
    assert (job.status, version.job_name, endpoint.name) == ("Completed", job.name, "toy-one")
    assert endpoint.traffic == {deployment.name: 100}


def test_what_waits_takes_nothing_from_anybody(world: World) -> None:
    """Runs that wait for their jobs, a run that is about to write an endpoint, and one that waits for that.

    Neither recipe's job waits for the other's, and what ends the billing waits for nobody.
    """
    dagster = world.dagster
    for recipe in ("one", "two"):
        world.prepare(recipe)
    world.clean()
    world.gate.unlink()
    of_two = load_recipe(str(world.home / "two.yaml"))
    ensure_endpoint(world.workspace, of_two.serving, owner=world.workspace.owner(of_two.name))
    held = world.control.add_fault(method="PUT", route="/onlineendpoints/{endpoint}", action="hold", when="before")
    waiting = [
        dagster.launch("finetune", assets=[f"{recipe}/finetune_compute", f"{recipe}/finetune_job"], recipe=recipe)
        for recipe, _ in itertools.product(("one", "two"), range(PROCESSES // 2))
    ]
    places = [dagster.instance.create_run_for_job(some_job, status=S.STARTED) for _ in range(PROCESSES, WAITING)]
    writing = dagster.launch("finetune_and_deploy", assets=["one/online_endpoint"], recipe="one")
    world.control.wait_until_held(held)
    # One that could do nothing else would stay in the queue.
    blocked = dagster.launch(
        "finetune_and_deploy", assets=["one/foundation_model", "one/online_endpoint"], recipe="one"
    )
    dagster.wait_for_message(blocked, "waits for pool endpoint_toy_one")
    for run_id in waiting:
        dagster.wait_for_message(run_id, "toy_step | ")

    begun = time.monotonic()
    teardown = dagster.launch("teardown", recipe="two")
    assert dagster.wait(teardown) is S.SUCCESS, dagster.failures(teardown)
    lasted = time.monotonic() - begun
    assert not list(world.workspace.ml.online_endpoints.list())
    looks, used = world.watch(WINDOW_SECONDS, [*waiting, blocked])
    print(f"\nteardown: {lasted:.1f} s; processor seconds in {WINDOW_SECONDS} s: {used}; {looks} looks at jobs")
    assert {dagster.status(run_id) for run_id in [*waiting, blocked, writing]} == {S.STARTED}
    assert lasted < TEARDOWN_SECONDS
    assert used[blocked] / WINDOW_SECONDS < SHARE
    # The longer a job has run, the less often it is looked at.
    assert sum(used[run_id] for run_id in waiting) / looks / SECONDS_BETWEEN_LOOKS < SHARE

    for place in places:
        dagster.instance.report_run_canceled(place)
    world.control.release(held)
    world.gate.touch()
    for run_id in [*waiting, blocked, writing]:
        assert dagster.wait(run_id) is S.SUCCESS, dagster.failures(run_id)
    one, two = (step_of(world.workspace, str(job.name)) for job in world.workspace.ml.jobs.list())
    assert one.end_time_utc is not None
    assert two.end_time_utc is not None
    assert max(str(one.start_time_utc), str(two.start_time_utc)) < min(str(one.end_time_utc), str(two.end_time_utc))
