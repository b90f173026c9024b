"""A lease really ends: the schedule sees it, the job deletes the endpoint, and nothing brings it back."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.inventory import endpoint_state
from phi_assets.azureml.ownership import MANAGED_TAG
from phi_assets.azureml.serving.endpoints import delete_endpoint
from phi_assets.azureml.serving.leases import EXPIRES_TAG, lease_end
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.graph.automation.endings import REAPED_TAG
from tests.azureml.serving.serving_toys import make_endpoint
from tests.emulator_requests import Requests
from tests.graph.ticks import Ticker, active_run, materialized
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import key_of, write_toy_recipe

NAME = "leased"
LEASE = timedelta(seconds=5)


class World:
    """The toy graph, and endpoints that others have left."""

    def __init__(self, emulator: Connection, workspace: Workspace, folder: Path, instance: dg.DagsterInstance) -> None:
        self.emulator, self.workspace, self.folder, self.instance = emulator, workspace, folder, instance
        self.made: list[str] = [NAME]
        self.graph = self.graph_with(lease_hours=24)

    def graph_with(self, **serving: float) -> Graph:
        changes = {"serving": {"endpoint": NAME, **serving}, "compute": {"name": NAME}}
        recipe = write_toy_recipe(self.folder / "recipe.yaml", changes)
        # Recipes are read once; each is a file of its own.
        recipe = recipe.rename(self.folder / f"recipe-{len(list(self.folder.iterdir()))}.yaml")
        return Graph(self.emulator.directory.parent, recipe, self.folder / "storage", self.instance)

    def leave(self, name: str, ended: timedelta | None, *, ours: bool = True) -> None:
        """An endpoint whose lease ended so long ago."""
        tags = {MANAGED_TAG: "true"} if ours else {}
        if ended is not None:
            tags[EXPIRES_TAG] = (datetime.now(UTC) - ended).isoformat()
        self.made.append(name)
        make_endpoint(self.workspace, name, tags)

    def exists(self, name: str) -> bool:
        return endpoint_state(self.workspace, name).endpoint is not None

    def tick(self, graph: Graph | None = None) -> tuple[Sequence[dg.RunRequest], str | None]:
        """Run requests of a tick of the schedule, and why there are none."""
        graph = graph or self.graph
        repository = graph.definitions.get_repository_def()
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=datetime.now(UTC),
            repository_def=repository,
            resources=dict(graph.definitions.resources or {}),
        ) as context:
            found = repository.get_schedule_def("endpoint_reaper").evaluate_tick(context)
        return found.run_requests or [], found.skip_message

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Do what a tick has requested, as the daemon would."""
        return self.graph.definitions.resolve_job_def("reap_expired").execute_in_process(
            instance=self.instance, run_config=request.run_config, tags=dict(request.tags), raise_on_error=False
        )


@pytest.fixture(scope="module")
def empty(emulator: Connection) -> None:
    # Another test's job of the recipe may go on still, or have ended at any time of a clock that was set.
    with Control(emulator) as control:
        control.reset()


@pytest.fixture
def world(emulator: Connection, empty: None, toys: Workspace, tmp_path: Path) -> Iterator[World]:
    # A schedule is evaluated over an instance that other processes could open too.
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        world = World(emulator, toys, tmp_path, instance)
        yield world
        for name in world.made:
            delete_endpoint(toys, name)


@pytest.mark.slow
def test_a_lease_of_seconds_really_ends(world: World, control: Control) -> None:
    world.graph = world.graph_with(lease_hours=LEASE / timedelta(hours=1))
    # The run fails behind the endpoint, as any may.
    control.add_scenario("deployment", scenario="OutOfQuota", match=f"{NAME}/*")
    result = world.graph.run()
    assert not result.success
    assert "OutOfQuota" in failure_message(result)
    assert world.exists(NAME)
    endpoint = world.workspace.ml.online_endpoints.get(NAME)
    ends = lease_end(endpoint.tags)
    assert ends is not None
    assert ends - datetime.now(UTC) <= LEASE

    # The model of a job that has just ended may be on its way, whoever brings it.
    control.set_clock(LEASE.total_seconds())
    assert world.tick() == ([], "No lease has ended.")
    control.set_clock(timedelta(minutes=11).total_seconds())
    (request,), _ = world.tick()
    assert request.tags["phi/reason"] == f"The lease of {NAME} has ended."
    reaped = world.run(request)
    assert reaped.success, failure_message(reaped)
    assert not world.exists(NAME)

    run = world.instance.get_run_by_id(reaped.run_id)
    assert run is not None
    assert run.tags[REAPED_TAG.format(NAME)] == "true"
    assert world.tick() == ([], "No lease has ended.")
    # It went because of its lease: that is no damage to be put right.
    sensor = Ticker(world.graph, "endpoint_health_sensor")
    assert "has not been materialized since it was torn down" in str(sensor.tick().skip)
    # The listing is that after the deletion.
    listing = world.instance.get_latest_materialization_event(key_of("still_billing"))
    assert listing is not None
    assert listing.asset_materialization is not None
    names = [record.data["name"] for record in listing.asset_materialization.metadata["billing"].records]  # type: ignore[attr-defined]
    assert NAME not in names
    # Somebody asks for it again: then it is expected again.
    world.graph = world.graph_with(lease_hours=24)
    materialized(world.graph, "online_endpoint")
    assert "as it was left" in str(Ticker(world.graph, "endpoint_health_sensor").tick().skip)


def test_a_tick_with_nothing_expired_reads_one_list_and_requests_nothing(world: World, emulator: Connection) -> None:
    world.leave("lease-goes-on", -timedelta(hours=1))
    world.leave("no-lease", None)
    world.leave("unreadable", None)
    world.leave("somebody-elses", timedelta(days=9), ours=False)
    with Requests(emulator) as requests:
        assert world.tick() == ([], "No lease has ended.")
    assert len([line for line in requests.lines if line.startswith("GET") and "/onlineEndpoints" in line]) == 1
    assert len([line for line in requests.lines if "/msi/" not in line and "health" not in line]) == 1
    assert requests.writes == []


def test_what_has_ended_goes_and_everything_else_stays(world: World) -> None:
    world.leave("ended-1", timedelta(seconds=1))
    world.leave("ended-2", timedelta(days=400))
    world.leave("goes-on", -timedelta(minutes=5))
    world.leave("somebody-elses", timedelta(days=9), ours=False)
    (request,), _ = world.tick()
    result = world.run(request)
    assert result.success, failure_message(result)
    kept = {name for name in world.made if world.exists(name)}
    assert kept == {"goes-on", "somebody-elses"}


def test_a_lease_that_is_renewed_meanwhile_is_honoured(world: World) -> None:
    world.leave("renewed", timedelta(seconds=1))
    (request,), _ = world.tick()
    world.leave("renewed", -timedelta(hours=1))
    assert world.run(request).success
    assert world.exists("renewed")


def test_the_job_of_a_tick_deletes_what_the_tick_has_seen(world: World) -> None:
    world.leave("seen", timedelta(seconds=1))
    (request,), _ = world.tick()
    world.leave("later", timedelta(seconds=1))
    assert world.run(request).success
    assert [world.exists(name) for name in ("seen", "later")] == [False, True]
    # Whoever starts the job by hand means all of them.
    assert world.graph.run("reap_expired").success
    assert not world.exists("later")


def test_the_endpoint_of_a_run_that_is_at_work_is_left_to_it(world: World) -> None:
    world.leave(NAME, timedelta(seconds=1))
    world.leave("other", timedelta(seconds=1))
    run = active_run(world.graph, "deploy")
    (request,), _ = world.tick()
    assert request.run_config == {"ops": {"delete_expired_endpoints": {"config": {"endpoints": ["other"]}}}}
    delete_endpoint(world.workspace, "other")
    assert world.tick() == ([], "No lease has ended.")
    # Nor does the job that somebody starts by hand end it.
    assert world.graph.run("reap_expired").success
    assert world.exists(NAME)
    world.instance.report_run_failed(run)
    (request,), _ = world.tick()
    assert NAME in request.tags["phi/reason"]


def test_one_run_at_a_time_deletes(world: World) -> None:
    world.leave("ended", timedelta(seconds=1))
    run = active_run(world.graph, "reap_expired")
    requests, skip = world.tick()
    assert not requests
    assert run.run_id in str(skip)
    world.instance.report_run_failed(run)
    assert world.tick()[0]


def test_one_that_cannot_be_deleted_keeps_no_other_alive(world: World, control: Control) -> None:
    for name in ("ended-1", "ended-2", "ended-3"):
        world.leave(name, timedelta(seconds=1))
    control.add_fault(method="DELETE", path="(?i)/onlineEndpoints/ended-2", action="status", status=403)
    result = world.graph.run("reap_expired")
    assert not result.success
    assert "ended-2 could not be deleted and is still billing" in failure_message(result)
    assert [world.exists(name) for name in ("ended-1", "ended-2", "ended-3")] == [False, True, False]
    control.clear_faults()
    (request,), _ = world.tick()
    assert request.tags["phi/reason"] == "The lease of ended-2 has ended."


def test_a_service_that_does_not_answer_fails_the_tick(world: World, control: Control) -> None:
    control.add_fault(method="GET", path="(?i)/onlineEndpoints$", action="status", status=403)
    with pytest.raises(dg.DagsterError) as raised:
        world.tick()
    assert "cannot be listed" in str(raised.value.__cause__)
