"""After every kind of run the newest list of what is billing is what there is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.billing.bill import read_bill
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.serving.endpoints import delete_endpoint
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.graph.automation.cursor import REASON_TAG
from phi_assets.graph.operations.assets import STILL_BILLING
from tests.graph.ticks import Ticker
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import write_toy_recipe

NAME = "billed"


class World:
    """The toy graph, its sensor, and what is really billing."""

    def __init__(self, graph: Graph, workspace: Workspace) -> None:
        self.graph, self.workspace = graph, workspace
        self.sensor = Ticker(graph, "still_billing_sensor")

    def settle(self) -> str:
        """Why the list was made anew; empty where it needed not be. Afterwards nothing is asked for."""
        reasons = []
        for request in self.sensor.tick().requests:
            assert request.asset_selection == [STILL_BILLING]
            reasons.append(request.tags[REASON_TAG])
            assert self.sensor.run(request).success
        assert not self.sensor.tick().requests
        return "".join(reasons)

    @property
    def listed(self) -> set[str]:
        event = self.graph.instance.get_latest_materialization_event(STILL_BILLING)
        assert event is not None
        assert event.asset_materialization is not None
        table: Any = event.asset_materialization.metadata["billing"]
        return {str(record.data["name"]) for record in table.records}

    @property
    def there_is(self) -> set[str]:
        return {item.name for item in read_bill(self.workspace, None).items}


@pytest.fixture(scope="module")
def world(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("billed")
    changes = {"serving": {"endpoint": NAME}, "compute": {"name": NAME}, "scoring": {"compare_with_base": False}}
    recipe = write_toy_recipe(folder / "recipe.yaml", changes)
    (folder / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
        yield World(Graph(emulator.directory.parent, recipe, folder / "storage", instance), toys)
    delete_endpoint(toys, NAME)


def test_the_list_follows_every_kind_of_run(world: World, control: Control) -> None:
    graph, instance = world.graph, world.graph.instance
    assert world.settle() == ""

    control.add_scenario("deployment", scenario="OutOfQuota", match=f"{NAME}/*")
    failed = graph.run()
    assert not failed.success
    assert f"Run {failed.run_id} of toy__finetune_and_deploy is FAILURE" in world.settle()
    assert NAME in world.listed == world.there_is
    control.clear_scenarios()

    deployed = graph.run("deploy")
    assert deployed.success, failure_message(deployed)
    assert "is SUCCESS" in world.settle()
    assert len(world.listed) == len(world.there_is) > 1
    assert world.listed == world.there_is

    cancelled = instance.create_run_for_job(
        job_def=graph.job("deploy"),
        asset_selection=frozenset({graph.key("online_deployment")}),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert not world.sensor.tick().requests
    instance.report_run_canceled(cancelled)
    assert "is CANCELED" in world.settle()
    assert world.listed == world.there_is

    # Both make a list of their own, after what they have done.
    assert graph.run("list_billing").success
    assert graph.run("teardown", tear_down_recipe={"dry_run": False}).success
    assert world.settle() == ""
    assert NAME not in world.listed == world.there_is


@pytest.mark.parametrize(("prepare", "is_listed"), [("here", False), ("cluster", True)])
def test_a_run_that_took_a_sample_has_billed_where_a_cluster_prepares_data(
    emulator: Connection, tmp_path: Path, prepare: str, is_listed: bool
) -> None:
    """However it has ended: the cluster keeps its nodes for a while, and a job may go on."""
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", {"dataset": {"prepare": prepare}})
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance)
        run = instance.create_run_for_job(
            job_def=graph.job("finetune"),
            asset_selection=frozenset({graph.key("sampled_test_sft")}),
            status=dg.DagsterRunStatus.STARTED,
        )
        instance.report_run_canceled(run)
        assert bool(Ticker(graph, "still_billing_sensor").tick().requests) is is_listed


def test_a_run_that_lists_before_it_is_done_has_not_listed_what_it_made(world: World) -> None:
    """As *Materialize all* does: nothing says that the list comes last."""
    everything = world.graph.materialize('key:"still_billing" or key:"online_endpoint"')
    assert everything.success, failure_message(everything)
    assert everything.run_id in world.settle()
    assert NAME in world.listed == world.there_is
