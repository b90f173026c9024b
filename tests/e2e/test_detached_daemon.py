"""With a real daemon that is killed again and again: every job that no run waits for is taken up by exactly one run."""

import random
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.emulator import process
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.training.detached import TAKES_UP_TAG
from tests.azureml.toys import make_request, write_registry
from tests.connections import workspace_of
from tests.e2e.harness.by_hand import DagsterByHand
from tests.e2e.harness.dagster_process import FAST_POLLS
from tests.e2e.harness.processes import until
from tests.graph.training.left_jobs import Crowd, leaver
from tests.postgres import needs_postgresql
from tests.toy_graph import write_toy_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_SECONDS = 120


def taken_up(dagster: DagsterByHand) -> Counter[str]:
    """How many runs there are for each job."""
    return Counter(run.tags[TAKES_UP_TAG] for run in dagster.instance.get_runs() if TAKES_UP_TAG in run.tags)


def ticks_in_peace(dagster: DagsterByHand) -> int:
    """How many ticks have found nothing to ask for."""
    (state,) = (each for each in dagster.instance.all_instigator_state() if each.instigator_name == "detached_jobs")
    ticks = dagster.instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return sum(tick.status is TickStatus.SKIPPED for tick in ticks)


@pytest.mark.parametrize(
    ("storage", "jobs", "kills"),
    [("SQLite", 24, 10), pytest.param("PostgreSQL", 6, 3, marks=needs_postgresql)],
)
def test_each_job_is_taken_up_by_one_run_however_often_the_daemon_is_killed(
    storage: str, jobs: int, kills: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    connection = process.ensure_running(tmp_path / "emulator")
    try:
        write_registry(connection.directory / "registry")
        recipe = write_toy_recipe(tmp_path / "toy.yaml", {"finetune": {"wait": "detached"}})
        env = {"PHI_HOME": str(tmp_path), "PHI_RECIPE": str(recipe), "PHI_STORAGE": str(tmp_path / "storage")}
        # The runs are created, and none of them is started.
        overrides = {**FAST_POLLS, "concurrency": {"runs": {"max_concurrent_runs": 0}}}
        if storage == "PostgreSQL":
            overrides["storage"] = request.getfixturevalue("postgres").new_database().storage
        with workspace_of(connection) as workspace:
            template = ensure_job(workspace, request=make_request(workspace, tmp_path)).name
        with DagsterByHand(tmp_path, env, overrides, sensor_seconds=1) as dagster:
            crowd, lineage = Crowd(connection, template), Lineage.of(load_recipe(str(recipe)), load_settings(env))
            names = [f"left-{number}" for number in range(jobs)]
            for name in names:
                crowd.plant(name, lineage.recipe.finetune.experiment, "Completed", "Completed")
                leaver(dagster.instance, lineage, name, dg.DagsterRunStatus.FAILURE)
            generator = random.Random(16)
            with dagster.real_daemon():
                for _ in range(kills):
                    wanted = sum(taken_up(dagster).values()) + generator.choice([1, 2, 3])
                    until(
                        lambda wanted=wanted: sum(taken_up(dagster).values()) >= min(wanted, jobs) or None,
                        _SECONDS,
                        f"No run is made, see {tmp_path}/daemon.log,",
                    )
                    dagster.kill_daemon()
                    dagster.start_daemon()
                until(lambda: len(taken_up(dagster)) == jobs or None, _SECONDS, "Some job is not taken up")
                before = ticks_in_peace(dagster)
                until(lambda: ticks_in_peace(dagster) >= before + 2 or None, _SECONDS, "The sensor does not tick")
            assert taken_up(dagster) == Counter(dict.fromkeys(names, 1))
    finally:
        process.stop(tmp_path / "emulator")
