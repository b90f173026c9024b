"""A model of the user's own, of another architecture: imported, trained, served and scored by the same graph."""

from pathlib import Path

import dagster as dg
import pytest

from phi_assets.emulator import process
from phi_assets.emulator.importing.registry_model import import_model
from tests.emulator.importing.llama import save_llama
from tests.graph_runs import Graph, actions, failure_message, write_recipe


@pytest.mark.slow
def test_an_imported_model_goes_all_the_way(emulator: process.Connection, tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "llama")
    # The emulator runs already, and has it at once.
    import_model(folder, emulator.directory / "registry", registry="local", name="local-model", say=lambda _: None)
    recipe = write_recipe(
        tmp_path / "recipe.yaml",
        {
            "parameters": {"max_steps": 2, "per_device_eval_batch_size": 16},
            "serving": {"endpoint": "own-model"},
            # A random model has nothing to say; that it is asked and answers is what counts here.
            "rollout": {"max_problems": 2, "max_new_tokens": 8},
            "scoring": {"samples": 2, "max_new_tokens": 8},
        },
        base="local_folder",
    )
    graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", dg.DagsterInstance.ephemeral())
    result = graph.run()
    assert result.success, failure_message(result)
    assert actions(result)["finetune_job"] == "submitted"
    assert result.asset_value("foundation_model").id == "azureml://registries/local/models/local-model/versions/1"
    assert result.asset_value("registered_model").name == "local-model-finetuned"
    assert "eval_loss" in result.asset_value("finetune_job").metrics
