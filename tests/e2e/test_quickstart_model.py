"""Does a newcomer see that fine-tuning worked? The shipped base model and three fine-tunes of it, asked over HTTP."""

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.azureml.serving.deployments import ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.config.recipe_files import load_recipe
from phi_assets.emulator import process
from phi_assets.quickstart.grading import Question, held_out_questions, keyword_accuracy
from phi_assets.refs import RegisteredModelRef, TrafficRef
from tests.graph_runs import Graph, failure_message, write_recipe

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


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_fine_tuned_model_answers(
    seed: int, emulator: process.Connection, workspace: Workspace, questions: list[Question], tmp_path
) -> None:
    recipe = write_recipe(
        tmp_path / "recipe.yaml", {"parameters": {"seed": seed}, "serving": {"endpoint": f"seed-{seed}"}}
    )
    graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", dg.DagsterInstance.ephemeral())
    result = graph.run()
    assert result.success, failure_message(result)
    metrics = result.asset_value("finetune_job").metrics
    assert "eval_loss_before" not in metrics
    assert metrics["eval_loss"] < 0.7 * metrics["loss_first"]
    assert accuracy(workspace, result.asset_value("live_traffic"), questions) >= 0.7
    assert graph.run("teardown").success
