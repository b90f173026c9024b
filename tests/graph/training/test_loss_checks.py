"""What the checks of a fine-tune say of its losses, for jobs that leave what jobs leave on Azure."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.emulator.process import Connection
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.training.checks import training_checks
from phi_assets.refs import JobRef
from tests.azureml.training.azureml_mlflow import azureml_mlflow
from tests.graph_runs import Graph, actions, failure_message
from tests.toy_graph import key_of, write_toy_recipe

CHECKS = {
    next(iter(check.check_specs)).name: check
    for check in training_checks(Lineage.of(load_recipe("quickstart"), load_settings({})))
}


def run(emulator: Connection, folder: Path, outcome: str) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    recipe = write_toy_recipe(folder / "recipe.yaml", {"parameters": {"outcome": outcome, "prefix": f"{outcome}: "}})
    with dg.DagsterInstance.ephemeral() as instance:
        result = Graph(emulator.directory.parent, recipe, folder / "storage", instance).run("finetune")
    return result, {found.check_name: found for found in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    for event in result.get_asset_materialization_events():
        if event.asset_key == key_of(asset):
            return dict(event.step_materialization_data.materialization.metadata)
    raise AssertionError(f"{asset} has not been materialized")


@pytest.mark.slow
def test_a_diverged_job_is_completed_and_goes_no_further(emulator: Connection, toys: Workspace, tmp_path: Path) -> None:
    result, checks = run(emulator, tmp_path, "diverge")
    assert not result.success
    assert actions(result)["finetune_job"] == "submitted"
    assert "registered_model" not in actions(result)
    found = checks["losses_are_finite"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "loss was not recorded at 2 of 2 occasions (the first at step 1)" in (found.description or "")
    assert "no numbers in the steps' logs: 2, the first in toy_step | " in (found.description or "")
    assert "toy_step | {'loss': nan, 'step': 1}" in (found.description or "")
    assert "Lower `learning_rate`" in (found.description or "")
    assert "it was no number there" in metadata(result, "finetune_job")["loss_problems"].md_str


@pytest.mark.slow
def test_a_job_without_metrics_is_a_warning_and_its_losses_are_unknown(
    emulator: Connection, toys: Workspace, tmp_path: Path
) -> None:
    result, checks = run(emulator, tmp_path, "silent")
    assert result.success, failure_message(result)
    assert actions(result)["registered_model"] == "created"
    found = checks["metrics_were_recorded"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "has recorded no metric at all" in (found.description or "")
    assert checks["losses_are_finite"].passed
    assert "Unknown" in (checks["losses_are_finite"].description or "")
    assert "no metric at all" in metadata(result, "finetune_job")["metrics_note"].value


@pytest.mark.slow
def test_a_job_whose_loss_falls_passes_all_of_them(emulator: Connection, toys: Workspace, tmp_path: Path) -> None:
    result, checks = run(emulator, tmp_path, "complete")
    assert result.success, failure_message(result)
    names = ("losses_are_finite", "training_loss_fell", "metrics_were_recorded", "evaluation_loss_fell")
    assert all(checks[name].passed for name in names)
    shown = metadata(result, "finetune_job")
    assert (shown["loss_first"].value, shown["loss_last"].value) == (3.0, 1.0)
    # Nobody evaluates before training, and nothing says so.
    assert "eval_loss_before" not in shown
    assert "Unknown" in (checks["evaluation_loss_fell"].description or "")


@pytest.mark.slow
def test_the_metadata_is_the_same_with_azureml_mlflow_installed(
    emulator: Connection, toys: Workspace, tmp_path: Path
) -> None:
    without, _ = run(emulator, tmp_path, "complete")
    with azureml_mlflow(tmp_path / "packages"):
        installed, checks = run(emulator, tmp_path, "complete")
    assert checks["metrics_were_recorded"].passed
    before, after = metadata(without, "finetune_job"), metadata(installed, "finetune_job")
    assert {"metrics", "loss_first", "loss_last", "loss_curve"} <= before.keys() - {"data_assets"}
    of_the_run = {"action", "reason", "changed", "data_assets"}
    same = before.keys() - of_the_run
    assert same == after.keys() - of_the_run
    assert {key: before[key] for key in same} == {key: after[key] for key in same}


def job(**metrics: float) -> JobRef:
    return JobRef(
        name="job",
        fingerprint="f",
        display_name="job",
        studio_url="https://studio",
        status="Completed",
        action="reused",
        attempt=1,
        metrics=metrics,
    )


@pytest.mark.parametrize(
    ("first", "last", "passed", "severity"),
    [(2.0, 1.0, True, "WARN"), (2.0, 2.0, True, "WARN"), (2.0, 2.1, False, "WARN"), (2.0, 8.0, False, "ERROR")],
)
def test_a_loss_that_rose_warns_and_fails_where_it_is_no_noise(
    first: float, last: float, passed: bool, severity: str
) -> None:
    result: Any = CHECKS["training_loss_fell"](job(loss_first=first, loss_last=last))
    assert (result.passed, result.severity.value) == (passed, severity)
    assert passed or f"rose from {first:.3f} to {last:.3f}" in result.description


def test_what_is_not_known_passes_and_says_so() -> None:
    for name, metrics in (("training_loss_fell", {"loss": 1.0}), ("evaluation_loss_fell", {"eval_loss": 1.0})):
        found: Any = CHECKS[name](job(**metrics))
        assert found.passed
        assert found.description.startswith("Unknown:")
    before: Any = CHECKS["evaluation_loss_fell"](job(eval_loss_before=1.0, eval_loss=1.5))
    assert (before.passed, before.severity.value) == (False, "WARN")
