"""The whole graph on deployments of the container for foundation models, which hides its failures in status 200."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.graph.test_metadata import records
from tests.graph_runs import Graph, actions, failure_message
from tests.toy_graph import write_toy_recipe

pytestmark = pytest.mark.slow

ENDPOINT = "foundation-graph"


@pytest.fixture
def graph(emulator: Connection, toys: Workspace, control: Control, tmp_path: Path) -> Iterator[Graph]:
    control.add_scenario("deployment", scenario="foundation-model-inference", match=f"{ENDPOINT}/*", count=None)
    changes = {
        "parameters": {"prefix": "hidden: "},
        "serving": {"endpoint": ENDPOINT, "model_name": ENDPOINT},
        "scoring": {"samples": 10},
    }
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", changes)
    graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", dg.DagsterInstance.ephemeral())
    yield graph
    assert graph.run("teardown").success


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def test_every_fifth_question_is_lost_counted_and_shown_and_nothing_else(graph: Graph, control: Control) -> None:
    whole = graph.run()
    assert whole.success, failure_message(whole)
    assert whole.asset_value("scoring_result").failed == 0
    assert checks(whole)["every_prompt_was_answered"].passed
    for deployment in ("ft-*", "base-*"):
        control.add_scenario(
            "deployment", scenario="model_error", match=f"{ENDPOINT}/{deployment}", every=5, count=None
        )
    again = graph.materialize(
        "base_answers or scoring_result", scoring_result={"force": True}, base_answers={"force": True}
    )
    assert again.success, failure_message(again)
    assert actions(again) | {"still_billing": ""} == {
        "base_answers": "scored",
        "scoring_result": "scored",
        "still_billing": "",
    }
    base, scores = again.asset_value("base_answers"), again.asset_value("scoring_result")
    assert (base.rows, base.failed, scores.rows, scores.failed) == (10, 2, 10, 2)
    found = checks(again)
    for name in ("every_prompt_was_answered", "base_model_answered_every_prompt"):
        assert (found[name].passed, found[name].severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "failed at 2 of 10 prompts" in (found[name].description or "")
    assert found["answers_are_not_empty"].passed
    (event,) = again.get_asset_materialization_events()[-1:]
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["failed_prompts"].value == 2
    assert "answered {}" in records(metadata["answers"])[0]["problem"]
    assert records(metadata["compared"])[0]["answers"] == "8 of 10"
