"""What lies on a hub is not fetched before preflight has passed."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.emulator.process import Connection
from tests.dataset.sources.hub_server import Hub
from tests.graph_runs import Graph, Result, failure_message
from tests.toy_graph import write_toy_recipe

RAW = {"raw_train_sft", "raw_test_sft", "raw_train_gen", "raw_test_gen"}
REFUSED = {"parameters": {"no_such_parameter": 1}}


def graph_of(hub: Hub, emulator: Connection, folder: Path, instance: dg.DagsterInstance, **recipes: Any) -> Graph:
    """A location with these recipes, by their names, whose data lies on the hub."""
    data = {"dataset": {"source": "hub", "repo": hub.repo}}
    paths = [
        write_toy_recipe(
            folder / f"{name}.yaml",
            {**data, "serving": {"endpoint": f"waits-{name}"}, **changes},
            name=name,
        )
        for name, changes in recipes.items()
    ]
    return Graph(emulator.directory.parent, paths[0], folder / "storage", instance, *paths[1:])


def fetched(hub: Hub) -> list[str]:
    return [line for line in hub.requests if line.startswith("GET") and line.endswith(".parquet")]


def materialized(result: Result) -> set[str]:
    events = result.get_asset_materialization_events()
    return {event.step_materialization_data.materialization.asset_key.path[-1] for event in events}


def test_a_preflight_that_fails_is_the_runs_only_failure_and_nothing_is_fetched(
    hub: Hub, emulator: Connection, toy_registry: Path, tmp_path: Path
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        graph = graph_of(hub, emulator, tmp_path, instance, refused=REFUSED)
        result = graph.run("finetune")
        assert not result.success
        assert [event.step_key for event in result.get_step_failure_events()] == ["refused__preflight"]
        assert materialized(result) == {"source"}
        looked = len(fetched(hub))
        # Without a preflight in the run nothing has refused it.
        assert graph.materialize("raw_train_sft").success
        assert len(fetched(hub)) > looked


@pytest.mark.parametrize(("other", "is_fetched"), [({}, True), (REFUSED, False)])
def test_a_refused_recipe_takes_the_data_from_no_other_one(
    other: dict[str, Any], is_fetched: bool, hub: Hub, emulator: Connection, toy_registry: Path, tmp_path: Path
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        graph = graph_of(hub, emulator, tmp_path, instance, refused=REFUSED, other=other)
        keys = [
            graph.key("source"),
            *map(graph.key, RAW),
            dg.AssetKey(["refused", "preflight"]),
            dg.AssetKey(["other", "preflight"]),
        ]
        job = dg.define_asset_job("both", selection=dg.AssetSelection.assets(*keys))
        definitions = dg.Definitions.merge(graph.definitions, dg.Definitions(jobs=[job]))
        result = Result(
            definitions.resolve_job_def("both").execute_in_process(instance=instance, raise_on_error=False), graph.keys
        )
        assert not result.success, failure_message(result)
        assert (materialized(result) >= RAW) is is_fetched
