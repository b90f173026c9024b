"""Does a newcomer see that fine-tuning worked? The shipped base model and fine-tunes of it, asked over HTTP.

That it works with other seeds too is in `emulator/components/test_seeds.py`.
"""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from phi_assets.azureml.connection.client import Workspace
from phi_assets.emulator import process
from phi_assets.graph.serving.champion import find_champion
from tests.graph_runs import Graph, failure_message, write_recipe
from tests.quickstart.asked import BASE_MODEL, accuracy, accuracy_of, questions

README = Path(__file__).parents[2] / "README.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_base_model_does_not_answer(workspace: Workspace) -> None:
    assert accuracy_of(workspace, BASE_MODEL, "base-model", questions()) <= 0.2


def readmes_edit() -> dict[str, Any]:
    """The parameters that README changes in the shipped recipe."""
    found = re.search(r"```yaml\n(# mine\.yaml\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    recipe = yaml.safe_load(found[1])
    assert (recipe["extends"], set(recipe)) == ("quickstart", {"extends", "name", "finetune"})
    return recipe["finetune"]["parameters"]


def test_the_fine_tuned_model_answers(emulator: process.Connection, workspace: Workspace, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"serving": {"endpoint": "quickstart-model"}}
    recipe, instance = write_recipe(tmp_path / "recipe.yaml", changes), dg.DagsterInstance.ephemeral()
    graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance)
    result = graph.run()
    assert result.success, failure_message(result)
    metrics = result.asset_value("finetune_job").metrics
    assert "eval_loss_before" not in metrics
    assert metrics["eval_loss"] < 0.7 * metrics["loss_first"]
    traffic = result.asset_value("live_traffic")
    assert accuracy(workspace, traffic, questions()) >= 0.7

    # README's edit of the shipped recipe: its model learns too little. It gets no traffic and is no champion.
    changes["parameters"] = readmes_edit()
    edited = Graph(
        emulator.directory.parent,
        write_recipe(tmp_path / "mine.yaml", changes),
        tmp_path / "storage",
        instance,
    )
    before = workspace.ml.online_endpoints.get(traffic.endpoint).traffic
    worse = edited.run()
    assert not worse.success
    assert worse.asset_value("registered_model") != result.asset_value("registered_model")
    assert {event.step_key for event in worse.get_step_failure_events()} == {graph.lineage.node("online_deployment")}
    assert workspace.ml.online_endpoints.get(traffic.endpoint).traffic == before
    champion = find_champion(instance, graph.key("scoring_result"), "another", graph.lineage.storage).rival
    assert champion is not None
    assert champion.model_id == result.asset_value("registered_model").id
    assert accuracy(workspace, traffic, questions()) >= 0.7
    assert graph.run("teardown").success
