"""Does a newcomer see that fine-tuning worked? The shipped base model and three fine-tunes of it, asked over HTTP."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.azureml.serving.deployments import ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.config.recipe_files import load_recipe
from phi_assets.emulator import process
from phi_assets.graph.serving.champion import find_champion
from phi_assets.quickstart.grading import Question, held_out_questions, keyword_accuracy
from phi_assets.refs import RegisteredModelRef, TrafficRef
from tests.graph_runs import Graph, failure_message, write_recipe

README = Path(__file__).parents[2] / "README.md"
BASE_MODEL = "phi_assets/emulator/registry/models/phi3-tiny"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return held_out_questions(50, seed=7)


def accuracy(workspace: Workspace, traffic: TrafficRef, questions: list[Question]) -> float:
    parameters = {"do_sample": False, "max_new_tokens": 70}
    with open_scoring(workspace, traffic.endpoint, traffic.scoring_uri, timeout_seconds=90) as client:
        answers = client.ask([[{"role": "user", "content": item.prompt}] for item in questions], parameters).texts
    return keyword_accuracy(questions, answers)


def test_the_base_model_does_not_answer(workspace: Workspace, questions: list[Question]) -> None:
    entities = sdk().entities
    model = workspace.ml.models.create_or_update(
        entities.Model(path=BASE_MODEL, type="mlflow_model", name="phi3-tiny-base", version="1")
    )
    ref = RegisteredModelRef(id=str(model.id), name="phi3-tiny-base", version="1", job_name="", action="created")
    serving = load_recipe("quickstart").serving.model_copy(update={"endpoint": "base-model"})
    endpoint = ensure_endpoint(workspace, serving)
    deployment = ensure_deployment(workspace, endpoint, ref, serving)
    assert accuracy(workspace, ensure_traffic(workspace, endpoint, deployment), questions) <= 0.2
    delete_endpoint(workspace, endpoint.name)


def readmes_edit() -> dict[str, Any]:
    """The parameters that README changes in the shipped recipe."""
    found = re.search(r"```yaml\n(# mine\.yaml\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    recipe = yaml.safe_load(found[1])
    assert (recipe["extends"], set(recipe)) == ("quickstart", {"extends", "name", "finetune"})
    return recipe["finetune"]["parameters"]


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_fine_tuned_model_answers(
    seed: int | None, emulator: process.Connection, workspace: Workspace, questions: list[Question], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"parameters": {} if seed is None else {"seed": seed}}
    changes["serving"] = {"endpoint": f"seed-{seed}".lower()}
    recipe, instance = write_recipe(tmp_path / "recipe.yaml", changes), dg.DagsterInstance.ephemeral()
    graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance)
    # What comes after the traffic asks the model as the questions here do, and is the same for every seed.
    result = graph.run() if seed is None else graph.materialize("+live_traffic")
    assert result.success, failure_message(result)
    metrics = result.asset_value("finetune_job").metrics
    assert "eval_loss_before" not in metrics
    assert metrics["eval_loss"] < 0.7 * metrics["loss_first"]
    traffic = result.asset_value("live_traffic")
    assert accuracy(workspace, traffic, questions) >= 0.7
    if seed is None:
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
        assert {event.step_key for event in worse.get_step_failure_events()} == {
            graph.lineage.node("online_deployment")
        }
        assert workspace.ml.online_endpoints.get(traffic.endpoint).traffic == before
        champion = find_champion(instance, graph.key("scoring_result"), "another", graph.lineage.storage).rival
        assert champion is not None
        assert champion.model_id == result.asset_value("registered_model").id
        assert accuracy(workspace, traffic, questions) >= 0.7
    assert graph.run("teardown").success
