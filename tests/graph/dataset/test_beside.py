"""Samples that a job makes beside the data: the graph goes on from them, and no data passes through it."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.training.data import ensure_data_asset
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import SampleRef
from tests.e2e.harness.processes import until
from tests.emulator_requests import Requests
from tests.graph_runs import Graph, Result, failure_message, write_recipe

STORE = "azureml://datastores/workspaceblobstore/paths"
BESIDE = {"dataset": {"prepare": "cluster"}, "preparation": {"name": "cpu-beside"}}
SAMPLE = "source or raw_test_sft or sampled_test_sft"


def graph(
    folder: Path, emulator: Connection, instance: dg.DagsterInstance, data: str, **changes: dict[str, Any]
) -> Graph:
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "emulator").symlink_to(emulator.directory)
    return Graph(home, write_recipe(folder / "recipe.yaml", changes), folder / "refs", instance, data=data)


def test_a_sample_is_the_same_is_registered_in_place_and_does_not_pass_through_here(
    tmp_path: Path, emulator: Connection, workspace: Workspace
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "one")) as instance:
        here = graph(tmp_path / "here", emulator, instance, "").materialize(SAMPLE)
        assert here.success, failure_message(here)
        mine: SampleRef = here.asset_value("sampled_test_sft")
    with dg.DagsterInstance.local_temp(str(tmp_path / "two")) as instance:
        beside = graph(tmp_path / "beside", emulator, instance, f"{STORE}/{tmp_path.name}", **BESIDE)
        first = beside.materialize("source or raw_test_sft")
        assert first.success, failure_message(first)
        with Requests(emulator) as requests:
            made = beside.materialize("sampled_test_sft")
        assert made.success, failure_message(made)
        again = beside.materialize("sampled_test_sft")
        theirs: SampleRef = made.asset_value("sampled_test_sft")
    said = metadata_of(made)
    assert (said["action"], said["changed"]) == ("submitted", "first materialization")
    assert said["job_name"].startswith("phi3-prep-")
    assert said["job_name"] in said["studio"]
    assert said["reason"].endswith(f"{theirs.rows:,} of {theirs.rows_total:,} rows.")
    assert said["node_hours"] > 0
    assert said["estimated_cost"] == pytest.approx(0.252 * said["node_hours"], abs=1e-6)
    assert said["currency"] == "USD"
    assert "estimated_cost" not in metadata_of(again)
    assert (metadata_of(again)["action"], again.asset_value("sampled_test_sft")) == ("reused", theirs)
    assert metadata_of(again)["reason"].startswith("The sample is there already, unchanged.")
    assert (theirs.sha256, theirs.rows, theirs.violations) == (mine.sha256, mine.rows, mine.violations)
    assert str(theirs.jsonl).startswith(f"{STORE}/{tmp_path.name}/sampled/")
    assert Path(theirs.jsonl).read_bytes() == Path(mine.jsonl).read_bytes()
    assert not any(name.endswith((".parquet", ".jsonl")) for name in requests.uploaded)
    # Its checks have not read a row of it.
    checks = made.get_asset_check_evaluations()
    assert {each.check_name for each in checks} == {
        "schema",
        "minimum_rows",
        "contract",
        "truncated_share",
        "no_warnings",
    }
    assert [each.check_name for each in checks if not each.passed] == []
    assert fetched(requests) == {f"test_sft.{each}.json" for each in ("sample", "hashes", "report", "findings")}
    with Requests(emulator) as requests:
        data = ensure_data_asset(workspace, f"beside-{tmp_path.name}", theirs)
    assert data.action == "created"
    assert requests.uploaded == {}


def metadata_of(result: Result) -> dict[str, Any]:
    """What the sample's materialization says."""
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}


def test_terminating_the_run_cancels_the_job(
    tmp_path: Path, emulator: Connection, control: Control, workspace: Workspace
) -> None:
    """As Dagster's run workers do it: the run is CANCELING, and its process gets a signal."""
    control.add_scenario("job", scenario="stuck_queued", match="phi3-prep*")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, ThreadPoolExecutor(1) as background:
        beside = graph(tmp_path / "beside", emulator, instance, f"{STORE}/{tmp_path.name}", **BESIDE)
        assert beside.materialize("source or raw_test_sft").success
        terminated = background.submit(terminate, instance, beside.key("sampled_test_sft"))
        run = beside.materialize("sampled_test_sft").dagster_run
        job = terminated.result()
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.CANCELED
        assert instance.get_latest_materialization_event(beside.key("sampled_test_sft")) is None
    assert JobStatus.of(workspace.ml.jobs.get(job)) is JobStatus.CANCELED


def terminate(instance: dg.DagsterInstance, sample: dg.AssetKey) -> str:
    """The run whose job is on the sample is terminated; the job's name."""
    job = until(lambda: observed(instance, sample), 60, "no job was announced on the sample")
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    instance.report_run_canceling(run)
    os.kill(os.getpid(), signal.SIGTERM)
    return job


def observed(instance: dg.DagsterInstance, sample: dg.AssetKey) -> str | None:
    records = instance.fetch_observations(sample, limit=1).records
    found = records[0].asset_observation if records else None
    return str(found.metadata["job_name"].value) if found else None


def fetched(requests: Requests) -> set[str]:
    """Names of the samples' files that were sent here."""
    found = {entry.path for entry in requests.entries if (entry.plane, entry.method) == ("blob", "GET")}
    return {Path(path).name for path in found if "/sampled/" in path}


def test_data_that_lies_in_no_datastore_is_no_data_to_be_beside_of(tmp_path: Path, emulator: Connection) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = graph(tmp_path / "beside", emulator, instance, "", **BESIDE).materialize(SAMPLE)
    said = failure_message(result)
    assert "lies in no datastore of workspace" in said
    assert "set PHI_DATA to a path in one" in said
