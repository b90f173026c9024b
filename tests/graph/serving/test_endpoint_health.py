"""What somebody does to the endpoint behind the graph's back is put right, and what was torn down stays down."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.inventory import endpoint_state
from phi_assets.azureml.serving.endpoints import delete_endpoint
from phi_assets.emulator.process import Connection
from phi_assets.emulator.serving.documents import DEPLOYMENT, ENDPOINT, deployment_key, endpoint_key
from phi_assets.emulator.store.state import Store
from tests.emulator_requests import Requests
from tests.graph.ticks import Ticker, active_run, materialized
from tests.graph.training.test_orphaned_job import JOBS, full_workspace
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import write_toy_recipe

pytestmark = pytest.mark.slow

NAME = "health-of-it"
SERVING = {"online_endpoint", "online_deployment", "live_traffic"}
MOST_REQUESTS = 3


class World:
    """The toy graph, materialized for good, and its endpoint."""

    def __init__(self, emulator: Connection, workspace: Workspace, folder: Path, instance: dg.DagsterInstance) -> None:
        self.emulator, self.workspace = emulator, workspace
        self.graph = Graph(emulator.directory.parent, self.recipe(folder, NAME), folder / "storage", instance)
        self.folder, self.instance = folder, instance

    def recipe(self, folder: Path, endpoint: str) -> Path:
        changes = {"serving": {"endpoint": endpoint}, "compute": {"name": "health"}}
        return write_toy_recipe(folder / f"{endpoint}.yaml", changes)

    @property
    def deployment(self) -> str:
        (name,) = endpoint_state(self.workspace, NAME).deployments
        return name

    @property
    def is_well(self) -> bool:
        """Whether the endpoint is as the graph has made it, with all the traffic on one deployment."""
        found = endpoint_state(self.workspace, NAME)
        states = {each.state for each in (found.endpoint, *found.deployments.values()) if each}
        return states == {"Succeeded"} and list(found.traffic.values()) == [100] and len(found.deployments) == 1

    def heal(self) -> None:
        """The endpoint is as the graph wants it, which is what all but a few tests leave behind."""
        if not self.is_well:
            result = self.graph.run("deploy")
            assert result.success, failure_message(result)

    def set_state(self, kind: str, key: str, state: str) -> None:
        """As if the service had failed at it, or was at it now."""
        store = Store(next(self.emulator.directory.glob("*.sqlite*")))
        assert store.update(kind, key, lambda document: document | {"state": state}) is not None

    def set_traffic(self, traffic: dict[str, int]) -> None:
        endpoint: Any = self.workspace.ml.online_endpoints.get(NAME)
        endpoint.traffic = traffic
        self.workspace.ml.online_endpoints.begin_create_or_update(endpoint).wait()


def reads(requests: Requests) -> list[str]:
    """Requests to the workspace, without those for tokens and for the emulator's own health."""
    return [line for line in requests.lines if "/subscriptions/" in line]


@pytest.fixture(scope="module")
def settled(
    emulator: Connection, workspace: Workspace, toy_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(emulator, workspace, tmp_path_factory.mktemp("health"), instance)
        materialized(world.graph, '+key:"live_traffic"')
        yield world


@pytest.fixture
def world(settled: World) -> World:
    settled.heal()
    return settled


@pytest.fixture
def sensor(world: World) -> Ticker:
    return Ticker(world.graph, "endpoint_health_sensor")


def test_an_endpoint_that_is_as_it_was_left_starts_nothing(world: World, sensor: Ticker) -> None:
    with Requests(world.emulator) as requests:
        assert "as it was left" in str(sensor.tick().skip)
    assert len(reads(requests)) <= MOST_REQUESTS
    assert not requests.writes


def test_a_deleted_endpoint_is_made_again(world: World, sensor: Ticker) -> None:
    delete_endpoint(world.workspace, NAME)
    tick = sensor.tick()
    assert tick.assets == SERVING
    assert tick.requests[0].tags["phi/reason"] == f"Endpoint {NAME} does not exist any more."
    assert not sensor.tick().requests
    assert sensor.run(tick.requests[0]).success
    assert "as it was left" in str(sensor.tick().skip)


def test_a_deleted_deployment_is_made_again(world: World, sensor: Ticker) -> None:
    name = world.deployment
    world.set_traffic({})
    world.workspace.ml.online_deployments.begin_delete(name=name, endpoint_name=NAME).wait()
    tick = sensor.tick()
    assert tick.requests[0].tags["phi/reason"] == f"Deployment {name} does not exist any more."
    assert sensor.run(tick.requests[0]).success
    assert "as it was left" in str(sensor.tick().skip)


def test_traffic_that_somebody_moved_is_moved_back(world: World, sensor: Ticker) -> None:
    world.set_traffic({})
    tick = sensor.tick()
    assert tick.requests[0].tags["phi/reason"] == f"Traffic of {NAME} is {{}} instead of {{'{world.deployment}': 100}}."
    assert sensor.run(tick.requests[0]).success
    assert "as it was left" in str(sensor.tick().skip)


def test_a_failed_endpoint_is_put_right(world: World, sensor: Ticker) -> None:
    world.set_state(ENDPOINT, endpoint_key(NAME), "Failed")
    tick = sensor.tick()
    assert tick.requests[0].tags["phi/reason"] == f"Endpoint {NAME} is Failed."
    assert sensor.run(tick.requests[0]).success
    assert "as it was left" in str(sensor.tick().skip)


def test_a_failed_deployment_is_put_right(world: World, sensor: Ticker) -> None:
    name = world.deployment
    world.set_state(DEPLOYMENT, deployment_key(NAME, name), "Failed")
    try:
        tick = sensor.tick()
        assert tick.requests[0].tags["phi/reason"] == f"Deployment {name} is Failed."
        result = sensor.run(tick.requests[0])
        assert result.success, failure_message(result)
        assert "as it was left" in str(sensor.tick().skip)
    finally:
        world.set_state(DEPLOYMENT, deployment_key(NAME, name), "Succeeded")


def test_what_somebody_is_changing_is_left_alone(world: World, sensor: Ticker) -> None:
    world.set_state(ENDPOINT, endpoint_key(NAME), "Updating")
    assert f"{NAME} is Updating" in str(sensor.tick().skip)
    world.set_state(ENDPOINT, endpoint_key(NAME), "Succeeded")


@pytest.mark.parametrize("kind", [ENDPOINT, DEPLOYMENT])
def test_what_somebody_else_has_made_in_its_place_is_left_alone(world: World, sensor: Ticker, kind: str) -> None:
    name = world.deployment
    key, what = {
        ENDPOINT: (endpoint_key(NAME), f"Endpoint {NAME}"),
        DEPLOYMENT: (deployment_key(NAME, name), f"Deployment {name}"),
    }[kind]
    store = Store(next(world.emulator.directory.glob("*.sqlite*")))
    document = store.get(kind, key)
    assert document is not None
    try:
        store.put(kind, key, document | {"tags": {"owner": "alice"}, "state": "Failed"})
        with Requests(world.emulator) as requests:
            said = str(sensor.tick().skip)
        assert f"{what} was made by somebody, without a tag of phi_assets (owner: alice). It is left alone." in said
        assert not requests.writes
    finally:
        store.put(kind, key, document)


def test_nothing_is_requested_while_a_run_is_at_it(world: World, sensor: Ticker) -> None:
    world.set_traffic({})
    run = active_run(world.graph, "deploy")
    with Requests(world.emulator) as requests:
        assert run.run_id in str(sensor.tick().skip)
    assert not requests.lines
    world.instance.report_run_canceled(run)
    assert sensor.tick().requests


def test_the_same_damage_is_tried_again_after_pauses_that_grow(world: World, sensor: Ticker) -> None:
    world.set_traffic({})
    pauses = []
    for number in (1, 2, 3):
        assert sensor.tick().requests
        assert not sensor.tick().requests
        cursor = sensor.state
        assert cursor.requests == number
        pauses.append(cursor.not_before)
        sensor.state = cursor.model_copy(update={"not_before": 0})
    assert 1.9 < (pauses[2] - pauses[0]) / (pauses[1] - pauses[0]) < 3.1


def test_damage_that_comes_back_at_once_keeps_its_pause(world: World, sensor: Ticker) -> None:
    world.set_traffic({})
    assert sensor.run(sensor.tick().requests[0]).success
    assert "as it was left" in str(sensor.tick().skip)
    world.set_traffic({})
    assert "have not put that right" in str(sensor.tick().skip)


def test_an_endpoint_that_was_torn_down_stays_down(world: World, sensor: Ticker) -> None:
    run = active_run(world.graph, "teardown")
    assert f"Run {run.run_id} of toy__teardown is changing" in str(sensor.tick().skip)
    world.instance.report_run_canceled(run)
    world.heal()
    result = world.graph.run("teardown")
    assert result.success
    with Requests(world.emulator) as requests:
        assert "since it was torn down" in str(sensor.tick().skip)
    assert not requests.lines
    # A new endpoint is expected from then on, its deployment only once there has been one.
    materialized(world.graph, "online_endpoint")
    assert "as it was left" in str(sensor.tick().skip)
    delete_endpoint(world.workspace, NAME)
    assert sensor.tick().assets == {"online_endpoint"}


def test_the_endpoint_of_another_recipe_is_not_made_by_itself(world: World) -> None:
    other = Graph(
        world.emulator.directory.parent,
        world.recipe(world.folder, "other-name"),
        world.folder / "storage",
        world.instance,
    )
    sensor = Ticker(other, "endpoint_health_sensor")
    assert "the recipe asks for other-name" in str(sensor.tick().skip)


def test_a_fresh_install_expects_no_endpoint(world: World) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(
            world.emulator.directory.parent, world.recipe(world.folder, NAME), world.folder / "storage", instance
        )
        with Requests(world.emulator) as requests:
            assert "has not been materialized" in str(Ticker(graph, "endpoint_health_sensor").tick().skip)
    assert not requests.lines


def test_a_thousand_jobs_make_no_difference(world: World, sensor: Ticker) -> None:
    job: Any = next(iter(world.workspace.ml.jobs.list()))
    with full_workspace(world.emulator, job.name), Requests(world.emulator) as requests:
        tick = sensor.tick()
    print(f"tick: {tick.seconds:.2f} s with {JOBS} jobs; {len(reads(requests))} reads")
    assert len(reads(requests)) <= MOST_REQUESTS
