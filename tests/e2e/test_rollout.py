"""A new model behind an endpoint that is asked all the time: it takes over unnoticed, or is stopped at its gate."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.inventory import endpoint_state
from phi_assets.azureml.serving.deployments import deployment_name
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.graph.serving.assets import ROLLOUT_GATE, SMOKE_GATE
from tests.graph.ticks import Ticker
from tests.graph_runs import Graph, failure_message
from tests.hammer import Hammer
from tests.toy_graph import key_of, write_toy_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ENDPOINT = "blue-green"
ROLLOUT = {"prompts": ["How are you?", "What is new?"], "observations": 2}


class Shop:
    """The toy graph, whose endpoint serves one model version for good, and can be given others."""

    def __init__(self, emulator: Connection, workspace: Workspace, folder: Path, instance: dg.DagsterInstance) -> None:
        self.emulator, self.workspace, self.folder, self.instance = emulator, workspace, folder, instance
        self.versions = 0
        self.first = ""

    def graph(self, prefix: str = "first: ", **rollout: Any) -> Graph:
        """The graph of a recipe whose model answers begin with the prefix."""
        changes = {
            "parameters": {"prefix": prefix},
            "serving": {"endpoint": ENDPOINT, "max_concurrent_requests": 8},
            "compute": {"name": "blue-green"},
            "rollout": ROLLOUT | rollout,
        }
        self.versions += 1
        # The file's name is the recipe's, and a recipe is read once per path.
        folder = self.folder / f"recipe-{self.versions}"
        folder.mkdir()
        recipe = write_toy_recipe(folder / "shop.yaml", changes)
        return Graph(self.emulator.directory.parent, recipe, self.folder / "storage", self.instance)

    def settle(self) -> None:
        """The first version has all the traffic, as it has after every model that was stopped at its gate."""
        if self.serving != ({self.first: 100}, {self.first}):
            result = self.graph().run()
            assert result.success, failure_message(result)
            (self.first,) = self.serving[1]

    @property
    def serving(self) -> tuple[dict[str, int], set[str]]:
        """Live traffic, and all that is billed."""
        found = endpoint_state(self.workspace, ENDPOINT)
        return dict(found.traffic), set(found.deployments)

    def evaluation(self, result: dg.ExecuteInProcessResult, name: str) -> Any:
        """The check's outcome in a run, as Dagster has recorded it."""
        asset = {SMOKE_GATE: "online_deployment", ROLLOUT_GATE: "live_traffic"}[name]
        key = dg.AssetCheckKey(key_of(asset), name)
        record = self.instance.get_latest_asset_check_evaluation_record(key)
        assert record is not None
        assert record.run_id == result.run_id
        assert record.event is not None
        assert record.event.dagster_event is not None
        return record.event.dagster_event.asset_check_evaluation_data


@pytest.fixture(scope="module")
def settled(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Shop(emulator, toys, tmp_path_factory.mktemp("shop"), instance)


@pytest.fixture
def shop(settled: Shop) -> Shop:
    settled.settle()
    return settled


def failed_step(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, Any]]:
    """Which asset failed, and the evidence that its failure carries."""
    (event,) = result.get_step_failure_events()
    data = event.step_failure_data.user_failure_data
    assert data is not None
    assert event.step_key is not None
    return event.step_key.rpartition("__")[2], dict(data.metadata)


def test_a_new_version_takes_over_while_clients_ask_all_the_time(shop: Shop) -> None:
    (old,) = shop.serving[1]
    with Hammer(shop.workspace, ENDPOINT) as hammer:
        result = shop.graph("second: ").run()
    assert result.success, failure_message(result)
    print(f"\n{hammer}")
    assert hammer.failed == []
    ((new, share),) = shop.serving[0].items()
    assert (share, shop.serving[1]) == (100, {new})
    assert new != old
    # Both have answered, and nobody else.
    assert set(hammer.answered) == {old, new}
    assert all("first: " in each.text or "second: " in each.text for each in hammer.heard)
    traffic = next(
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == key_of("live_traffic")
    )
    table: Any = traffic.metadata["rollout"].value
    assert [record.data["traffic"] for record in table.records] == [
        f"{old} 100 %, 10 % mirrored to {new}",
        f"{old} 90 %, {new} 10 %",
        f"{old} 50 %, {new} 50 %",
        f"{new} 100 %",
        f"{new} 100 %",
    ]
    assert str(traffic.metadata["timeline"].value).startswith("![traffic over time](data:image/png;base64,")
    assert shop.evaluation(result, SMOKE_GATE).passed
    assert shop.evaluation(result, ROLLOUT_GATE).passed


BAD_MODELS = {
    "garbage": ({"scenario": "garbage"}, "online_deployment", SMOKE_GATE, "fails the smoke gate: 2 of 2 answers"),
    "no words": ({"scenario": "empty"}, "online_deployment", SMOKE_GATE, "empty"),
    "ten times slower": (
        {"scenario": "slow", "factor": 10, "seconds": 1, "exact": True},
        "live_traffic",
        ROLLOUT_GATE,
        "times as long",
    ),
    "crash at load": ({"scenario": "crash_at_load", "message": "cut off"}, "online_deployment", None, "cut off"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_bad_model_is_stopped_at_its_gate(name: str, shop: Shop, control: Control) -> None:
    scenario, asset, gate, message = BAD_MODELS[name]
    before, graph = shop.serving, shop.graph(f"{name}: ")
    trained = graph.materialize('+key:"registered_model"')
    assert trained.success, failure_message(trained)
    new = deployment_name(trained.asset_value("registered_model"))
    control.add_scenario("deployment", match=f"{ENDPOINT}/{new}", **scenario)
    with Hammer(shop.workspace, ENDPOINT) as hammer:
        result = graph.run("deploy")
    assert not result.success
    step, evidence = failed_step(result)
    print(f"\n{failure_message(result)}\n{hammer}")
    assert step == asset
    assert message in failure_message(result)
    # The old one has answered all the time, and is all that is left.
    assert hammer.failed == []
    assert shop.serving == before
    assert set(hammer.answered) == before[1]
    if gate is not None:
        found = shop.evaluation(result, gate)
        assert not found.passed
        assert message in str(found.description)
        assert (found.metadata["deployment"].value, evidence["deployment"].value) == (new, new)


def test_what_a_gate_has_turned_down_is_not_deployed_again_by_itself(shop: Shop, control: Control) -> None:
    graph = shop.graph("turned down: ")
    new = deployment_name(graph.materialize('+key:"registered_model"').asset_value("registered_model"))
    control.add_scenario("deployment", scenario="slow", match=f"{ENDPOINT}/{new}", seconds=1, exact=True)
    assert not graph.run("deploy").success
    sensor = Ticker(graph, "endpoint_health_sensor")
    # The deployment that is gone is nobody's loss.
    assert "as it was left" in str(sensor.tick().skip)
    (old,) = shop.serving[1]
    set_traffic(shop.workspace, {})
    skip = str(sensor.tick().skip)
    assert f"Traffic of {ENDPOINT} is {{}} instead of {{'{old}': 100}}" in skip
    assert "would deploy" in skip
    assert shop.serving == ({}, {old})
    # Somebody who wants it all the same gets it, and from then on it is what is put right.
    control.clear_scenarios()
    assert graph.run("deploy").success
    assert shop.serving == ({new: 100}, {new})
    set_traffic(shop.workspace, {})
    assert sensor.run(sensor.tick().requests[0]).success
    assert shop.serving == ({new: 100}, {new})


def set_traffic(workspace: Workspace, traffic: dict[str, int]) -> None:
    endpoint: Any = workspace.ml.online_endpoints.get(ENDPOINT)
    endpoint.traffic = traffic
    workspace.ml.online_endpoints.begin_create_or_update(endpoint).wait()


def test_an_outage_during_the_rollout_leaves_the_old_deployment_alone(shop: Shop, control: Control) -> None:
    """The service refuses the second move for a reason that does not pass: the run fails, and cleans up."""
    before, graph = shop.serving, shop.graph("refused: ")
    assert graph.materialize('+key:"registered_model"').success
    refused = {"action": "status", "status": 400, "code": "UserError", "count": 1, "skip": 1}
    control.add_fault(method="PUT", route="/onlineendpoints/{endpoint}", **refused)
    with Hammer(shop.workspace, ENDPOINT) as hammer:
        result = graph.run("deploy")
    assert not result.success
    assert "could not be set to" in failure_message(result)
    assert hammer.failed == []
    assert shop.serving == before
