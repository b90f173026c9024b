"""Jobs that finished while nobody watched: the one that the graph would reuse is taken up, once, and no other."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.training.lookup import get_job
from phi_assets.emulator.process import Connection
from phi_assets.emulator.store.state import Store
from phi_assets.graph.training.assets import JOB_TAG
from tests.emulator_requests import Requests
from tests.graph.ticks import Tick, Ticker, active_run, materialized
from tests.graph_runs import Graph, actions, failure_message
from tests.toy_graph import write_toy_recipe

UPSTREAM = '+key:"sampled_train_sft" or +key:"sampled_validation_sft" or +key:"finetune_compute"'
JOBS = 1000
MOST_REQUESTS = 14


class World:
    """Two Dagster instances over the same workspace: what the other one does, the first never sees."""

    def __init__(self, emulator: Connection, folder: Path, instances: list[dg.DagsterInstance]) -> None:
        self.emulator, self.folder = emulator, folder
        self.ours, self.theirs = instances
        self.graph = self.graph_of({})
        self._has_upstream(self.graph)
        self.sensor = Ticker(self.graph, "orphaned_job_sensor")

    def graph_of(self, parameters: dict[str, Any], instance: dg.DagsterInstance | None = None) -> Graph:
        # The folder makes this test's jobs its own.
        changes = {"parameters": {"prefix": str(self.folder), **parameters}, "compute": {"name": "orphans"}}
        number = len(list(self.folder.glob("recipe-*")))
        recipe = write_toy_recipe(self.folder / f"recipe-{number}.yaml", changes)
        return Graph(self.emulator.directory.parent, recipe, self.folder.parent / "storage", instance or self.ours)

    def _has_upstream(self, graph: Graph) -> None:
        """Samples and cluster may be those of an earlier world of the same instance."""
        if not graph.instance.has_asset_key(graph.key("finetune_compute")):
            materialized(graph, UPSTREAM)

    def job_without_us(self, parameters: dict[str, Any] | None = None, **config: Any) -> tuple[str, bool]:
        """Name of the job that a run of the other instance has led to its end, and whether that was a success."""
        graph = self.graph_of(parameters or {}, self.theirs)
        self._has_upstream(graph)
        result = graph.materialize("finetune_job", **({"finetune_job": config} if config else {}))
        run = self.theirs.get_run_by_id(result.run_id)
        assert run is not None
        return run.tags[JOB_TAG], result.success


@pytest.fixture(scope="module")
def instances() -> Iterator[list[dg.DagsterInstance]]:
    with dg.DagsterInstance.ephemeral() as ours, dg.DagsterInstance.ephemeral() as theirs:
        yield [ours, theirs]


@pytest.fixture
def world(emulator: Connection, toy_registry: Path, tmp_path: Path, instances: list[dg.DagsterInstance]) -> World:
    return World(emulator, tmp_path, instances)


def test_a_completed_job_is_taken_up_once_and_nothing_is_submitted(world: World) -> None:
    assert "no completed job" in str(world.sensor.tick().skip)
    name, _ = world.job_without_us()
    tick = world.sensor.tick()
    assert tick.assets == {"finetune_job", "registered_model"}
    assert name in tick.requests[0].tags["phi/reason"]
    assert not world.sensor.tick().requests
    with Requests(world.emulator) as requests:
        result = world.sensor.run(tick.requests[0])
    assert result.success
    assert actions(result) == {"finetune_job": "reused", "registered_model": "created"}
    assert not [line for line in requests.writes if "/jobs/" in line]
    assert f"Job {name} is recorded" in str(world.sensor.tick().skip)


def test_a_lost_cursor_asks_again(world: World) -> None:
    name, _ = world.job_without_us()
    for cursor in (None, "not json", json.dumps({"version": 99})):
        world.sensor.cursor = cursor
        (request,) = world.sensor.tick().requests
        assert name in request.tags["phi/reason"]


def test_a_job_of_another_recipe_is_left_alone(world: World) -> None:
    world.job_without_us({"seed": 43})
    assert "no completed job" in str(world.sensor.tick().skip)


@pytest.mark.parametrize("outcome", ["fail", "nothing"])
def test_a_job_without_a_model_is_left_alone(world: World, outcome: str) -> None:
    _, success = world.job_without_us({"outcome": outcome})
    assert not success
    sensor = Ticker(world.graph_of({"outcome": outcome}), "orphaned_job_sensor")
    assert "no completed job" in str(sensor.tick().skip)


def test_a_later_attempt_is_taken_up_although_an_earlier_one_is_recorded(world: World) -> None:
    materialized(world.graph, "finetune_job")
    assert "is recorded" in str(world.sensor.tick().skip)
    name, _ = world.job_without_us(force=True)
    assert name.endswith("-r2")
    assert name in world.sensor.tick().requests[0].tags["phi/reason"]


def test_nothing_is_taken_up_while_a_run_is_at_it(world: World) -> None:
    world.job_without_us()
    run = active_run(world.graph, "finetune")
    assert run.run_id in str(world.sensor.tick().skip)
    world.ours.report_run_failed(run)
    assert world.sensor.tick().requests


def test_a_fresh_install_has_no_job_to_look_for(world: World) -> None:
    with dg.DagsterInstance.ephemeral() as fresh:
        sensor = Ticker(world.graph_of({}, fresh), "orphaned_job_sensor")
        with Requests(world.emulator) as requests:
            assert "never been materialized" in str(sensor.tick().skip)
        assert not requests.lines


def test_a_thousand_jobs_cost_no_more_than_one(world: World, workspace: Workspace) -> None:
    name, _ = world.job_without_us()
    sensors = ("hub_revision_sensor", "foundation_model_sensor", "orphaned_job_sensor", "endpoint_health_sensor")

    def tick_all() -> tuple[dict[str, Tick], dict[str, list[str]]]:
        ticks, lines = {}, {}
        for sensor in sensors:
            with Requests(world.emulator) as requests:
                ticks[sensor] = Ticker(world.graph, sensor).tick()
            assert not requests.writes
            lines[sensor] = requests.lines
        return ticks, lines

    alone, few = tick_all()
    with full_workspace(world.emulator, name):
        assert get_job(workspace, "crowd-999").tags["phi/fingerprint"]
        crowded, many = tick_all()
    for sensor in sensors:
        print(f"{sensor}: {crowded[sensor].seconds:.2f} s with {JOBS} jobs, {len(many[sensor])} requests")
        assert many[sensor] == few[sensor]
        assert crowded[sensor].assets == alone[sensor].assets
        assert len(many[sensor]) <= MOST_REQUESTS
    assert crowded["orphaned_job_sensor"].requests[0].tags["phi/reason"].startswith(f"Job {name} is Completed")


@contextmanager
def full_workspace(emulator: Connection, name: str) -> Iterator[None]:
    """A thousand more completed jobs like this one, each for a fine-tune of its own."""
    store = Store(next(emulator.directory.glob("*.sqlite*")))
    documents = {kind: json.dumps(store.get(kind, name)) for kind in ("job", "run")}
    for number in range(JOBS):
        for kind, text in documents.items():
            crowd = json.loads(text.replace(name, f"crowd-{number}"))
            tags = crowd["properties"]["tags"] if kind == "job" else crowd["tags"]
            tags["phi/fingerprint"] = f"{number:064x}"
            store.put(kind, f"crowd-{number}", crowd)
    try:
        yield
    finally:
        # Every list that a later test asks for would have them.
        for number in range(JOBS):
            for kind in documents:
                store.delete(kind, f"crowd-{number}")
        store.close()


def test_a_run_that_takes_a_job_up_submits_none_where_the_inputs_have_changed_meanwhile(world: World) -> None:
    world.job_without_us()
    (request,) = world.sensor.tick().requests
    changed = Ticker(world.graph_of({"prefix": "changed: "}), "orphaned_job_sensor")
    with Requests(world.emulator) as requests:
        result = changed.run(request)
    assert not result.success
    assert "This run was not to submit one" in failure_message(result)
    assert not requests.writes
