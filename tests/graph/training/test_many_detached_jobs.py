"""Two hundred jobs of twenty recipes, request limits on: few requests, and each job is taken up by one run."""

import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.config.settings import load_settings
from phi_assets.definitions import build_definitions
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.training.detached import TAKES_UP_TAG
from tests.emulator_requests import Requests
from tests.graph.training.left_jobs import Crowd, World, add_run, leaver

RECIPES, JOBS = 20, 200
STATES = [("Running", "Queued"), ("Running", "Running"), ("Completed", "Completed"), ("Failed", "Failed")]


@pytest.fixture
def crowd(world: World, emulator: Connection, workspace: Workspace) -> Iterator[Crowd]:
    world.gate.touch()
    name, left = world.leave()
    world.tick_until(workspace, name, "Completed")
    world.instance.delete_run(left.run_id)
    crowd = Crowd(emulator, name)
    yield crowd
    crowd.leave()


class Location:
    """A code location of many recipes like the world's, in so many experiments."""

    def __init__(self, world: World, *, experiments: int) -> None:
        self.world = world
        settings = load_settings({"PHI_HOME": str(world.emulator.directory.parent)})
        recipe = world.graph.recipe
        recipes = [
            recipe.model_copy(
                update={
                    "name": f"recipe_{number}",
                    "serving": recipe.serving.model_copy(update={"endpoint": f"many-{number}"}),
                    "finetune": recipe.finetune.model_copy(
                        update={"experiment": f"{world.folder.name}-{number % experiments}"}
                    ),
                }
            )
            for number in range(RECIPES)
        ]
        self.definitions = build_definitions(settings, *recipes)
        self.lineages = [Lineage.of(recipe, settings) for recipe in recipes]

    def plant(self, crowd: Crowd, jobs: int) -> list[str]:
        """Names of the jobs that have ended."""
        ended = []
        for number in range(jobs):
            lineage = self.lineages[number % RECIPES]
            status, step = STATES[number // RECIPES % len(STATES)]
            name = f"crowd-{self.world.folder.name}-{number}"
            loss = 0.25 + number if step == "Running" else None
            crowd.plant(name, lineage.recipe.finetune.experiment, status, step, loss)
            leaver(self.world.instance, lineage, name, dg.DagsterRunStatus.SUCCESS)
            ended += [name] if status != "Running" else []
        return ended

    def tick(self) -> Sequence[dg.RunRequest]:
        repository = self.definitions.get_repository_def()
        with dg.build_sensor_context(
            instance=self.world.instance,
            repository_def=repository,
            resources=dict(self.definitions.resources or {}),
        ) as context:
            return repository.get_sensor_def("detached_jobs").evaluate_tick(context).run_requests or []


@pytest.mark.parametrize("experiments", [1, RECIPES])
def test_the_number_of_requests_does_not_grow_with_the_jobs(
    world: World, crowd: Crowd, control: Control, capfd: pytest.CaptureFixture[str], experiments: int
) -> None:
    location = Location(world, experiments=experiments)
    ended = location.plant(crowd, JOBS)
    control.set_throttling(True)
    started = time.monotonic()
    with Requests(world.emulator) as requests:
        asked = location.tick()
    seconds, said = time.monotonic() - started, capfd.readouterr().err
    tracemalloc.start()
    again = location.tick()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    planes = Counter(entry.plane for entry in requests.entries)
    statuses = Counter(entry.status for entry in requests.entries)
    print(f"{len(requests.entries)} requests {dict(planes)}, {seconds:.2f} s, {peak / 1e6:.1f} MB at most")
    assert set(statuses) == {200}
    assert not requests.writes
    assert planes["arm"] == 3
    assert planes["history"] == max(JOBS // 50, experiments)
    assert planes["mlflow"] == 3

    assert sorted(str(request.run_key) for request in asked) == sorted(ended)
    assert {key.to_user_string() for request in asked for key in request.asset_selection or ()} == {
        f"recipe_{number}/finetune_job" for number in range(RECIPES)
    }
    assert {str(request.run_key) for request in again} == set(ended)
    assert len([line for line in said.splitlines() if ": job crowd-" in line]) == JOBS
    assert f"recipe_0: job crowd-{world.folder.name}-0 is waiting for a node for " in said
    assert "(toy_step is Queued)" in said
    assert "(toy_step is Running), loss 20.25: http" in said


def test_a_run_for_each_that_has_ended_and_none_more(world: World, crowd: Crowd) -> None:
    """Some of the runs are created, then somebody is killed; whoever comes after asks for the others only."""
    location = Location(world, experiments=2)
    ended = location.plant(crowd, 80)
    made: Counter[str] = Counter()
    for _ in range(6):
        for request in location.tick()[:7]:
            add_run(world.instance, request.tags, dg.DagsterRunStatus.STARTED)
            made[request.tags[TAKES_UP_TAG]] += 1
    assert made == Counter(ended)
