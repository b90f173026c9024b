"""What a person sees of a running job in Dagster: name and link on the run, the job's log in the step's."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.billing.prices import load_prices
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.training.identity import FORCED_TAG
from phi_assets.emulator.process import Connection
from phi_assets.graph.training.assets import FINGERPRINT_TAG, JOB_TAG, STUDIO_TAG
from tests.azureml.toys import SIZE
from tests.graph_runs import Graph, actions, failure_message
from tests.toy_graph import NAME, key_of, write_toy_recipe

KEY = key_of("finetune_job")
CAPTURED = "LOGS_CAPTURED"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


@pytest.fixture(scope="module")
def graph(
    emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance
) -> Graph:
    folder = tmp_path_factory.mktemp("training")
    changes = {"parameters": {"prefix": "seen: "}, "finetune": {"display_name": "a name", "tags": {"team": "green"}}}
    recipe = write_toy_recipe(folder / "recipe.yaml", changes)
    return Graph(emulator.directory.parent, recipe, folder / "storage", instance)


@pytest.fixture(scope="module")
def run(graph: Graph) -> dg.ExecuteInProcessResult:
    result = graph.run("finetune")
    assert result.success, failure_message(result)
    return result


def test_the_run_carries_name_link_and_fingerprint_of_its_job(
    run: dg.ExecuteInProcessResult, instance: dg.DagsterInstance
) -> None:
    job = run.asset_value("finetune_job")
    record = instance.get_run_by_id(run.run_id)
    assert record is not None
    assert record.tags[JOB_TAG] == job.name
    assert record.tags[STUDIO_TAG] == job.studio_url
    assert record.tags[FINGERPRINT_TAG] == job.fingerprint


def test_the_job_is_observed_before_it_is_materialized(
    run: dg.ExecuteInProcessResult, instance: dg.DagsterInstance
) -> None:
    observation = instance.fetch_observations(KEY, limit=1).records[0]
    materialization = instance.fetch_materializations(KEY, limit=1).records[0]
    assert observation.storage_id < materialization.storage_id
    assert observation.asset_observation is not None
    metadata = observation.asset_observation.metadata
    assert metadata["job_name"].value == run.asset_value("finetune_job").name
    assert metadata["studio"].value == run.asset_value("finetune_job").studio_url
    assert metadata["changed"].value == "first materialization"


def test_the_steps_log_has_the_jobs_own_lines(run: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> None:
    captured: list[Any] = [event.event_specific_data for event in run.all_events if event.event_type_value == CAPTURED]
    (step,) = [data.file_key for data in captured]
    log = instance.compute_log_manager.get_log_data([run.run_id, "compute_logs", step]).stdout
    assert log is not None
    assert b"toy_step | {'loss': 3.0, 'step': 0}" in log


def test_name_and_tags_of_the_recipe_are_on_the_job(run: dg.ExecuteInProcessResult, toys: Workspace) -> None:
    job = toys.ml.jobs.get(run.asset_value("finetune_job").name)
    assert job.display_name == "a name"
    assert job.tags is not None
    assert job.tags["team"] == "green"
    assert job.tags["phi/fingerprint"] == run.asset_value("finetune_job").fingerprint


def test_a_forced_run_submits_one_more_job_that_says_who_forced_it(
    run: dg.ExecuteInProcessResult, graph: Graph, toys: Workspace
) -> None:
    forced = graph.run("finetune", finetune_job={"force": True})
    assert actions(forced)["finetune_job"] == "resubmitted"
    job = toys.ml.jobs.get(forced.asset_value("finetune_job").name)
    assert job.tags is not None
    assert job.tags[FORCED_TAG] == forced.run_id
    assert actions(graph.run("finetune"))["finetune_job"] == "reused"


def number(metadata: dict[str, dg.MetadataValue[Any]], key: str) -> float:
    value = metadata[key].value
    assert isinstance(value, float)
    return value


def test_what_a_job_took_is_on_it_and_summed_over_the_recipe_once(
    run: dg.ExecuteInProcessResult, graph: Graph, instance: dg.DagsterInstance
) -> None:
    graph.run("finetune", finetune_job={"force": True})
    assert actions(graph.run("finetune"))["finetune_job"] == "reused"
    found = [record.asset_materialization for record in instance.fetch_materializations(KEY, limit=100).records]
    materialized = [dict(each.metadata) for each in found if each]
    jobs = {str(metadata["job_name"].value): metadata for metadata in materialized}
    assert len(materialized) > len(jobs) > 1
    newest, price = materialized[0], load_prices().hourly_price(SIZE)
    assert price is not None
    assert (newest["recipe"].value, newest["recipe_jobs"].value) == (NAME, len(jobs))
    for key in ("gpu_hours", "estimated_cost"):
        assert all(number(metadata, key) > 0 for metadata in jobs.values())
        total = sum(number(metadata, key) for metadata in jobs.values())
        assert number(newest, f"recipe_{key}") == pytest.approx(total, abs=1e-5)
    # One GPU in a node.
    assert number(newest, "estimated_cost") == pytest.approx(number(newest, "gpu_hours") * price, abs=1e-5)
    assert newest["currency"].value == "USD"
