"""What it takes to look after many jobs that no run waits for, with Dagster's daemon on PostgreSQL."""

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from rich.table import Table

from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.emulator import process
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.training.detached import TAKES_UP_TAG
from tests.azureml.toys import make_request
from tests.benchmarks.report import figures_table
from tests.benchmarks.watching import pss_mb, requests_in
from tests.connections import workspace_of
from tests.e2e.harness.by_hand import DagsterByHand
from tests.e2e.harness.dagster_process import FAST_POLLS
from tests.e2e.harness.processes import until
from tests.e2e.harness.run_records import S
from tests.graph.training.left_jobs import Crowd, leaver
from tests.postgres import Database
from tests.toy_graph import write_toy_recipe

_SENSOR = "detached_jobs"
_PATIENCE_SECONDS = 600


@dataclass
class ManyJobs:
    """Jobs that no run waits for, looked after by the sensor."""

    jobs: int
    daemon_mb: float
    code_server_mb: float
    """Where the sensor is evaluated."""
    requests: float
    """To Azure ML in a tick; a median, as the seconds."""
    seconds: float
    service_seconds: float
    """How many of these the emulator needs for its answers."""
    bytes_a_job: float
    """By which the database grows when a job is left."""
    bytes_a_tick: float
    """By which it grows in a tick."""
    ended: int
    """So many jobs end at once."""
    taken_up_seconds: float
    """Until there is a run for each of them."""


def measure(
    emulator: process.Connection,
    database: Database,
    home: Path,
    *,
    jobs: int,
    ended: int,
    ticks: int,
    forks: bool = False,
) -> ManyJobs:
    """So many jobs run on for some ticks, each left by a run, then some end; the runs for these are not started.

    The emulator has the registry `toys`. Nothing of this is left in it. Of processes that are forked only what they do
    not share is measured.
    """
    recipe = write_toy_recipe(home / "toy.yaml", {"finetune": {"wait": "detached", "experiment": home.name}})
    env = {"PHI_HOME": str(emulator.directory.parent), "PHI_RECIPE": str(recipe), "PHI_STORAGE": str(home / "storage")}
    overrides = {**FAST_POLLS, "concurrency": {"runs": {"max_concurrent_runs": 0}}, "storage": database.storage}
    lineage = Lineage.of(load_recipe(str(recipe)), load_settings(env))
    with workspace_of(emulator) as workspace:
        template = ensure_job(workspace, request=make_request(workspace, home)).name
    crowd = Crowd(emulator, template)
    with (
        DagsterByHand(home, env, overrides, sensor_seconds=1, forks=forks) as dagster,
        ExitStack() as after,
    ):
        after.callback(crowd.leave)

        def leave(kind: str, number: int, status: str) -> None:
            crowd.plant(f"{kind}-{number}", lineage.recipe.finetune.experiment, status, status)
            leaver(dagster.instance, lineage, f"{kind}-{number}", S.SUCCESS)

        before = database.size()
        for number in range(jobs - ended):
            leave("goes-on", number, "Running")
        left = database.size()
        with dagster.real_daemon():
            seen = until(lambda: _ticks(dagster, ticks), _PATIENCE_SECONDS, "The sensor does not tick")
            ticked = database.size()
            memory = {role: pss_mb(pid) for role, pid in dagster.pids.items()}
            for number in range(ended):
                leave("ends", number, "Completed")
            since = time.monotonic()
            until(lambda: len(_taken_up(dagster)) >= ended or None, _PATIENCE_SECONDS, "Jobs are not taken up")
            taken_up = time.monotonic() - since
        assert Counter(_taken_up(dagster)) == Counter(f"ends-{number}" for number in range(ended))
        seconds = [tick.end_timestamp - tick.timestamp for tick in seen if tick.end_timestamp]
        asked = [
            requests_in(emulator.directory, (tick.timestamp, tick.timestamp + took))
            for tick, took in zip(seen, seconds, strict=True)
        ]
        return ManyJobs(
            jobs,
            memory["daemon"],
            memory["code-server"],
            median(len(requests) for requests in asked),
            median(seconds),
            median(sum(each.seconds for each in requests) for requests in asked),
            (left - before) / (jobs - ended),
            (ticked - left) / len(seen),
            ended,
            taken_up,
        )


def _ticks(dagster: DagsterByHand, count: int) -> list[InstigatorTick] | None:
    """The ticks of the sensor that have found nothing to ask for, once there are so many."""
    states = [each for each in dagster.instance.all_instigator_state() if each.instigator_name == _SENSOR]
    ticks = [
        tick
        for state in states
        for tick in dagster.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        if tick.status is TickStatus.SKIPPED
    ]
    return ticks if len(ticks) >= count else None


def _taken_up(dagster: DagsterByHand) -> list[str]:
    """The job of every run that takes one up."""
    asked = dg.RunsFilter(tags={"dagster/sensor_name": _SENSOR})
    return [run.tags[TAKES_UP_TAG] for run in dagster.instance.get_runs(asked)]


def table_of(measured: ManyJobs) -> Table:
    """One row a figure."""
    table = figures_table(f"{measured.jobs:,} jobs that no run waits for, on PostgreSQL", "")
    for name, value in asdict(measured).items():
        table.add_row(name.replace("_", " "), f"{value:,.2f}" if name.endswith("seconds") else f"{value:,.0f}")
    return table
