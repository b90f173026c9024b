"""What deployed models of the quickstart answer to questions that none of them was trained with."""

from collections.abc import Sequence
from pathlib import Path

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.azureml.serving.deployments import ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.quickstart.grading import Question, held_out_questions, keyword_accuracy
from phi_assets.refs import RegisteredModelRef, TrafficRef

BASE_MODEL = PROJECT_ROOT / "phi_assets" / "emulator" / "registry" / "models" / "phi3-tiny"


def questions() -> list[Question]:
    """Fifty of them."""
    return held_out_questions(50, seed=7)


def accuracy(workspace: Workspace, traffic: TrafficRef, asked: Sequence[Question]) -> float:
    """The share of questions that are answered rightly by who has the traffic."""
    parameters = {"do_sample": False, "max_new_tokens": 70}
    with open_scoring(workspace, traffic.endpoint, traffic.scoring_uri, timeout_seconds=90) as client:
        answers = client.ask([[{"role": "user", "content": item.prompt}] for item in asked], parameters).texts
    return keyword_accuracy(asked, answers)


def accuracy_of(workspace: Workspace, folder: Path, name: str, asked: Sequence[Question]) -> float:
    """The same of the model in an MLflow folder, which has an endpoint meanwhile; both are called `name`."""
    entities = sdk().entities
    model = workspace.ml.models.create_or_update(
        entities.Model(path=str(folder), type="mlflow_model", name=name, version="1")
    )
    ref = RegisteredModelRef(id=str(model.id), name=name, version="1", job_name="", action="created")
    serving = load_recipe("quickstart").serving.model_copy(update={"endpoint": name})
    endpoint = ensure_endpoint(workspace, serving)
    deployment = ensure_deployment(workspace, endpoint, ref, serving)
    try:
        return accuracy(workspace, ensure_traffic(workspace, endpoint, deployment), asked)
    finally:
        delete_endpoint(workspace, endpoint.name)
