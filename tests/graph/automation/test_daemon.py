"""With a real daemon: a new revision on the hub becomes a new scoring result by itself, once and only once."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.training.lookup import get_job
from phi_assets.config.dataset import SAMPLED_SPLITS, SPLITS
from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from phi_assets.graph.automation.conditions import DETACHED_TAG, WAITING
from phi_assets.graph.training.assets import JOB_TAG
from tests.azureml.toys import write_registry
from tests.connections import workspace_of
from tests.dataset.shards import make_rows, write_shards
from tests.dataset.sources.hub_server import Hub, running
from tests.e2e.harness.dagster_process import FINISHED, LOCATION, DagsterProcess
from tests.e2e.harness.processes import until
from tests.toy_graph import write_toy_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NEXT = "fedcba9876543210fedcba9876543210fedcba98"

CHANGED = {
    "source",
    *(f"raw_{split}" for split in SPLITS),
    *(f"sampled_{split}" for split in SAMPLED_SPLITS),
    *("finetune_job", "registered_model", "online_deployment", "live_traffic", "base_answers", "scoring_result"),
}
UNCHANGED = {"preflight", "foundation_model", "finetune_compute", "online_endpoint"}

_TICKS = """query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState {
  ticks(limit: 500) { status error { message } } } } } }"""

_SENSOR_SECONDS = 2
"""Between two ticks. From the hub to the answers it is nine hops, each of which waits for a tick."""
_HOP_SECONDS = 120
_TICKS_IN_PEACE = 3


@dataclass
class World:
    """A hub, an emulator and a Dagster deployment."""

    hub: Hub
    dagster: DagsterProcess
    workspace: Workspace
    control: Control
    gate: Path

    def push(self, commit: str, seed: int) -> None:
        """Another revision of the data set, all of its splits with other rows."""
        for number, split in enumerate(SPLITS):
            write_shards(self.hub.folder, split, make_rows(40, seed + number))
        self.hub.commit = self.hub.served_commit = commit

    def materializations(self) -> Counter[str]:
        return Counter({asset: len(self.dagster.materializations(asset)) for asset in CHANGED | UNCHANGED})

    def ticks(self, sensor: str) -> int:
        """How many ticks of the sensor are over."""
        selector = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION, "sensorName": sensor}
        found = self.dagster.graphql.query(_TICKS, s=selector)["sensorOrError"]["sensorState"]["ticks"]
        assert [tick["error"] for tick in found if tick["error"]] == []
        return sum(tick["status"] != "STARTED" for tick in found)

    def wait_for_ticks(self, sensor: str, count: int) -> None:
        """The sensor has ticked so often from now on."""
        wanted = self.ticks(sensor) + count
        until(lambda: self.ticks(sensor) >= wanted or None, _HOP_SECONDS, f"{sensor} does not tick")

    def wait_for(self, asset: str, count: int, timeout: float = _HOP_SECONDS) -> None:
        """The asset has been materialized so often."""
        until(
            lambda: len(self.dagster.materializations(asset)) >= count or None,
            timeout,
            f"{asset} has not been materialized {count} times",
        )

    def running_job(self) -> str:
        """Name of the job that a run has left to itself, once Azure ML runs it and no run of Dagster goes on."""

        def found() -> str | None:
            runs = self.dagster.runs()
            if any(run.status not in FINISHED for run in runs):
                return None
            names = {run.tags[JOB_TAG] for run in runs if run.tags.get(DETACHED_TAG) == WAITING}
            job = get_job(self.workspace, names.pop()) if names else None
            return str(job.name) if job and JobStatus.of(job) is JobStatus.RUNNING else None

        return until(found, 3 * _HOP_SECONDS, "No job runs")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    connection = process.ensure_running(tmp_path / "emulator")
    try:
        write_registry(connection.directory / "registry")
        with running(Hub(tmp_path / "repository")) as hub:
            gate = tmp_path / "gate"
            recipe = write_toy_recipe(
                tmp_path / "recipe.yaml",
                {
                    "dataset": {"source": "hub", "repo": hub.repo},
                    "sample": {"percent": 50},
                    "parameters": {"gate": str(gate)},
                },
            )
            env = {
                "PHI_HOME": str(tmp_path),
                "PHI_RECIPE": str(recipe),
                "PHI_STORAGE": str(tmp_path / "storage"),
                "HF_ENDPOINT": hub.url,
                "HF_HUB_OFFLINE": "0",
                "HF_HOME": str(tmp_path / "huggingface"),
                "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"])),
            }
            with (
                DagsterProcess(tmp_path, env, sensor_seconds=_SENSOR_SECONDS) as dagster,
                Control(connection) as control,
                workspace_of(connection) as workspace,
            ):
                yield World(hub, dagster, workspace, control, gate)
    finally:
        process.stop(tmp_path / "emulator")


def test_a_new_revision_flows_to_a_new_scoring_result_once_and_only_once(world: World) -> None:
    world.push(world.hub.commit, seed=0)
    world.gate.touch()
    first = world.dagster.launch("finetune_and_deploy")
    ended = world.dagster.wait(first, timeout=3 * _HOP_SECONDS)
    assert ended is dg.DagsterRunStatus.SUCCESS, world.dagster.failures(first)
    assert world.materializations() == Counter(dict.fromkeys(CHANGED | UNCHANGED, 1))
    world.dagster.start_sensor("phi_automation")
    world.wait_for_ticks("phi_automation", 1)

    world.gate.unlink()
    before = world.control.last_entry()
    world.push(NEXT, seed=100)
    world.dagster.start_sensor("hub_revision_sensor")
    # The daemon goes away between a request and its run, and again while the job runs.
    until(lambda: len(world.dagster.runs()) > 1 or None, _HOP_SECONDS, "No run is requested")
    world.dagster.restart_daemon()
    job = world.running_job()
    world.dagster.restart_daemon()
    # Nobody waits for it, and nothing else is begun meanwhile: the new questions are for the model to come.
    world.wait_for_ticks("phi_automation", 1)
    assert world.materializations()["scoring_result"] == 1
    world.gate.touch()
    world.wait_for("scoring_result", 2, timeout=5 * _HOP_SECONDS)

    # Nothing more comes of it, also where the hub is asked again.
    world.dagster.stop_sensor("hub_revision_sensor")
    world.dagster.start_sensor("hub_revision_sensor")
    world.wait_for_ticks("phi_automation", _TICKS_IN_PEACE)
    assert world.materializations() == Counter({**dict.fromkeys(CHANGED, 2), **dict.fromkeys(UNCHANGED, 1)})
    assert world.control.counts(since=before).get("PUT /jobs/{name}") == 1
    assert [run.status for run in world.dagster.runs() if run.status is not dg.DagsterRunStatus.SUCCESS] == []
    (newest, _) = world.dagster.materializations("finetune_job")
    assert world.dagster.metadata(newest)["job_name"] == job
