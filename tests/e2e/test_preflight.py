"""Preflight in the graph: nothing that costs money runs before it, and what it finds reaches a person."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.dataset.cases.inputs import asked, chats, held_out, lines
from tests.emulator_requests import Requests
from tests.graph_runs import FAST_PARAMETERS, Graph, actions, failure_message, write_recipe
from tests.toy_graph import write_toy_recipe

CHECKS = ["data", "access", "model", "parameters", "machines", "quota", "endpoint", "budget"]
"""Those that keep what costs money from running."""
SEED_TODAY = {
    "model": {"registry": "azureml-2026"},
    "component": {"registry": "azureml-2026"},
    "serving": {"endpoint": "preflight-2026"},
}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def graph(emulator: Connection, folder: Path, recipe: Path, instance: dg.DagsterInstance) -> Graph:
    return Graph(emulator.directory.parent, recipe, folder / "storage", instance)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {
        event.step_materialization_data.materialization.asset_key.path[-1]
        for event in result.get_asset_materialization_events()
    }


def test_the_job_looks_and_says_what_it_saw(
    clean_emulator: Connection, toys: Workspace, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", {})
    with Requests(clean_emulator) as requests:
        result = graph(clean_emulator, tmp_path, recipe, instance).materialize("preflight")
    assert result.success, failure_message(result)
    assert requests.writes == []
    assert checks(result) == dict.fromkeys([*CHECKS, "no_warnings"], True)
    [event] = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["errors"].value == metadata["warnings"].value == 0
    assert metadata["tenant"].value == "00000000-0000-4000-8000-0000000000aa"
    assert isinstance(cost := metadata["estimated_cost"].value, float)
    assert cost > 0
    assert metadata["changed"].value


@pytest.mark.parametrize("job", ["finetune_and_deploy", "finetune", "deploy"])
def test_the_seeds_defaults_stop_before_anything_is_written(
    job: str, emulator: Connection, toys: Workspace, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    # The notebook's choices, but for the data set, which lies on the hub.
    bundled = {"dataset": {"source": "bundled"}, "sample": {"percent": 11}}
    recipe = write_recipe(tmp_path / "recipe.yaml", {**SEED_TODAY, **bundled}, "phi3_mini_ultrachat")
    with Requests(emulator) as requests:
        result = graph(emulator, tmp_path, recipe, instance).run(job)
    assert not result.success
    assert requests.writes == []
    assert [event.step_key for event in result.get_step_failure_events()] == ["mine__preflight"]
    message = failure_message(result)
    for part in ("is retired: fine-tuning on 2025-08-30", "`model.name: Phi-4`", "learning_rate_min"):
        assert part in message
    outcome = checks(result)
    assert not outcome["model"]
    assert outcome["access"]
    assert not {name for name in materialized(result) if not name.startswith(("source", "raw_", "sampled_"))}


def test_data_that_cannot_be_used_stops_the_run_before_anything_is_written(
    emulator: Connection, toys: Workspace, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    folder = tmp_path / "chats"
    folder.mkdir()
    (folder / "test.jsonl").write_bytes(lines(held_out()))
    (folder / "train.jsonl").write_bytes(lines([*chats(2), {"messages": asked(2), "weight": 0.5}]))
    changes = {"dataset": {"source": "local", "path": str(folder), "name": "unusable"}}
    recipe = write_recipe(tmp_path / "recipe.yaml", changes)
    with Requests(emulator) as requests:
        result = graph(emulator, tmp_path, recipe, instance).materialize("preflight")
    assert not result.success
    assert requests.writes == []
    assert [name for name, passed in checks(result).items() if not passed] == ["data"]
    assert "train.jsonl, row 3 has weight 0.5" in failure_message(result)


def test_warnings_stop_nothing(
    emulator: Connection, toys: Workspace, control: Control, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Nor is what depends on preflight stale for them, or for an edited recipe: its data version is as before."""
    changes: dict[str, dict[str, Any]] = {
        "serving": {"endpoint": "preflight-warned"},
        "compute": {"name": "preflight-warned"},
    }
    first = graph(emulator, tmp_path, write_toy_recipe(tmp_path / "first.yaml", changes), instance)
    result = first.materialize("key:preflight or key:foundation_model or key:finetune_compute")
    assert result.success, failure_message(result)
    # The toy model has a default that the toy pipeline does not declare.
    outcome = checks(result)
    assert [name for name, passed in outcome.items() if not passed] == ["no_warnings"]
    assert set(CHECKS) < set(outcome)
    assert materialized(result) == {"preflight", "foundation_model", "finetune_compute"}
    control.set_quotas(standardNCADSA100v4Family=48)
    changes["budget"] = {"cost": 1000}
    again = graph(emulator, tmp_path, write_toy_recipe(tmp_path / "again.yaml", changes), instance)
    assert data_version(again.materialize("preflight")) == data_version(result)


def data_version(result: dg.ExecuteInProcessResult) -> str:
    [version] = {
        materialization.tags["dagster/data_version"]  # type: ignore[index]
        for event in result.get_asset_materialization_events()
        if (materialization := event.step_materialization_data.materialization).asset_key.path[-1] == "preflight"
    }
    return version


@pytest.mark.slow
def test_the_suggested_edit_runs_to_a_scoring_result(
    emulator: Connection, toys: Workspace, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    edited = {**SEED_TODAY, "model": {"registry": "azureml-2026", "name": "Phi-4"}, "parameters": FAST_PARAMETERS}
    result = graph(emulator, tmp_path, write_recipe(tmp_path / "recipe.yaml", edited), instance).run()
    assert result.success, failure_message(result)
    assert actions(result)["finetune_job"] == "submitted"
    assert actions(result)["scoring_result"] == "scored"
    assert {name: passed for name, passed in checks(result).items() if name in CHECKS} == dict.fromkeys(CHECKS, True)
