"""Where the recipe names no tokenizer, tokens are counted with the one that lies beside the model in the registry."""

from pathlib import Path

import dagster as dg

from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.emulator.process import Connection
from tests.emulator.testing_registry import PACKAGED
from tests.graph_runs import Graph, write_recipe


def test_a_sample_is_counted_with_the_registrys_tokenizer(emulator: Connection, tmp_path: Path) -> None:
    # No other test has this version, so its tokenizer is not there yet.
    changes = {"contract": {"tokenizer": None}, "model": {"registry": "azureml-2026", "name": "Phi-4"}}
    recipe = write_recipe(tmp_path / "recipe.yaml", changes)
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(emulator.directory.parent, recipe, tmp_path / "refs", instance)
        result = graph.materialize("+key:sampled_test_sft")
        assert result.success
        (sample,) = result.asset_materializations_for_node("mine__sampled_test_sft")
    shipped = PACKAGED / "models" / "phi3-tiny" / "data" / "tokenizer" / "tokenizer.json"
    own = f"Phi-4 in registry azureml-2026 {TokenCounter(shipped).identity[:8]}"
    assert sample.metadata["token_counter"].value == f"counted with {own}"
