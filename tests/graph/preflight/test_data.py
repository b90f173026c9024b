"""The first rows of data that another asset hands over: known by the last time that it did."""

from pathlib import Path

import dagster as dg

from phi_assets.config.recipe import Recipe
from phi_assets.config.settings import load_settings
from phi_assets.emulator.process import Connection
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.preflight.data import first_look
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from tests.dataset.cases.inputs import asked, chats, held_out, lines


def test_what_is_handed_over_is_unknown_at_first_and_doubtful_where_it_was_no_good(
    emulator: Connection, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate({"name": "mine", "dataset": {"source": "asset", "asset": "chats", "name": "handed"}})
    lineage = Lineage.of(recipe, load_settings({"PHI_HOME": str(tmp_path / "home")}))
    azureml = AzureMLWorkspace.from_settings(load_settings({"PHI_HOME": str(emulator.directory.parent)}))
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_asset_context(instance=instance)
        look = first_look(context, lineage, azureml)
        assert (look.splits, look.problems, look.warnings) == ((), [], ())
        assert look.unknown == "nothing is known of it before it has been handed over for the first time"

        landed = {"folder": dg.MetadataValue.path(str(tmp_path))}
        handed_over = dg.AssetMaterialization(lineage.datasets[0].key("source"), metadata=landed)
        instance.report_runless_asset_event(handed_over)
        (tmp_path / "test.jsonl").write_bytes(lines(held_out()))
        (tmp_path / "train.jsonl").write_bytes(lines([{"messages": asked(n), "label": True} for n in range(40)]))
        look = first_look(context, lineage, azureml)
        assert look.source == f"asset chats ({tmp_path})"
        # The run may hand it over anew, and better.
        assert look.problems == []
        assert look.warnings[0].startswith("as it was handed over the last time, train_sft, train_gen: ")
        assert "row 1 has label True" in look.warnings[0]

        (tmp_path / "train.jsonl").write_bytes(lines(chats(300)))
        look = first_look(context, lineage, azureml)
        assert (look.problems, look.warnings) == ([], ())
        assert [each.split for each in look.splits if each.head] == ["train_sft", "test_sft", "train_gen", "test_gen"]


def test_where_data_cannot_be_kept_is_said_before_any_is_made(emulator: Connection, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(lines(chats(300)))
    (tmp_path / "test.jsonl").write_bytes(lines(held_out()))
    dataset = {"source": "local", "path": str(tmp_path), "name": "kept"}
    recipe = Recipe.model_validate({"name": "mine", "dataset": dataset})
    home = {"PHI_HOME": str(emulator.directory.parent)}
    azureml = AzureMLWorkspace.from_settings(load_settings(home))
    problems = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for data in ("azureml://datastores/workspaceblobstore/paths/mine", "azureml://datastores/nobodys/paths/mine"):
            lineage = Lineage.of(recipe, load_settings({**home, "PHI_DATA": data}))
            problems[data] = first_look(dg.build_asset_context(instance=instance), lineage, azureml).problems
    fine, (problem,) = problems.values()
    assert fine == []
    assert problem.startswith("PHI_DATA cannot be written: azureml://datastores/nobodys/paths/mine cannot be reached: ")
