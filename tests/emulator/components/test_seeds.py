"""Does a newcomer see that fine-tuning worked, whatever the seed? The quickstart's training, with other seeds.

The graph around it is the same for every seed: `e2e/test_quickstart_model.py` has it.
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.training.parameters import effective_parameters
from phi_assets.azureml.training.pipelines import get_component
from phi_assets.emulator import process
from phi_assets.emulator.components import finetune
from tests.emulator.components.conftest import Start, finished
from tests.graph_runs import Graph, failure_message
from tests.quickstart.asked import BASE_MODEL, accuracy_of, questions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def recorded(metrics: Path, name: str) -> list[float]:
    points = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [point["value"] for point in points if point["name"] == name]


@pytest.fixture(scope="module")
def prepared(
    emulator: process.Connection, workspace: Workspace, fork: Start, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Path], dict[str, Any]]:
    """What the quickstart's pipeline gives its step `finetune`: folders, and parameters."""
    folder = tmp_path_factory.mktemp("prepared")
    graph = Graph(emulator.directory.parent, "quickstart", folder / "storage", dg.DagsterInstance.ephemeral())
    samples = graph.materialize("+sampled_train_sft or +sampled_validation_sft")
    assert samples.success, failure_message(samples)
    recipe = graph.recipe
    component, model = get_component(workspace, recipe.component), get_foundation_model(workspace, recipe.model)
    parameters = effective_parameters(component.inputs, model.defaults, recipe.finetune).values
    files = {
        f"{use}_file_path": Path(samples.asset_value(f"sampled_{use}_sft").jsonl)
        for use in ("train", "validation", "test")
    }
    length = parameters["max_seq_length"]
    folders = {name: folder / name for name in ("model_selector_output", "preprocess_output")}
    base = folders["model_selector_output"]
    finished(fork("model_import", mlflow_model_path=BASE_MODEL, output_dir=base))
    made = folders["preprocess_output"]
    finished(fork("preprocess", **files, model_selector_output=base, max_seq_length=length, output_dir=made))
    known = {action.dest for action in finetune.arguments()._actions}
    return folders, {name: value for name, value in parameters.items() if name in known}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_fine_tuned_model_answers(
    seed: int,
    prepared: tuple[dict[str, Path], dict[str, Any]],
    fork: Start,
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    folders, parameters = prepared
    options = {**folders, **parameters, "seed": seed, "pytorch_model_folder": tmp_path / "model"}
    finished(fork("finetune", metrics=tmp_path / "metrics.jsonl", **options))
    losses, evaluations = (recorded(tmp_path / "metrics.jsonl", name) for name in ("loss", "eval_loss"))
    assert evaluations[-1] < 0.7 * losses[0]
    finished(fork("convert", model_path=tmp_path / "model", output_dir=tmp_path / "mlflow"))
    assert accuracy_of(workspace, tmp_path / "mlflow", f"seed-{seed}", questions()) >= 0.7
