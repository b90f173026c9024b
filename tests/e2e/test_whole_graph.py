"""The whole graph on the emulator: it works, a second time it does nothing, and bad recipes submit nothing."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.training.data import data_version
from phi_assets.docs.graph_tables import asset_name
from phi_assets.docs.metadata_keys import EVERY_ASSET, KEYS
from phi_assets.emulator import process
from tests.emulator_requests import Requests
from tests.graph_runs import FAST_PARAMETERS, Graph, Result, actions, failure_message, write_recipe

REMOTE_ASSETS = {
    "finetune_compute",
    "finetune_job",
    "registered_model",
    "online_endpoint",
    "online_deployment",
    "live_traffic",
}
SCORING = {"base_answers", "scoring_result"}


@pytest.fixture(scope="module")
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


@pytest.fixture(scope="module")
def graph(emulator: process.Connection, tmp_path_factory, instance) -> Graph:
    folder = tmp_path_factory.mktemp("twice")
    # Nobody else who shares this emulator asks for answers of this length, so all of them are asked for here.
    changes = {"parameters": FAST_PARAMETERS, "serving": {"endpoint": "twice"}, "scoring": {"max_new_tokens": 61}}
    recipe = write_recipe(folder / "recipe.yaml", changes)
    return Graph(emulator.directory.parent, recipe, folder / "storage", instance)


@pytest.fixture(scope="module")
def first(graph: Graph) -> Result:
    return graph.run()


@pytest.mark.slow
def test_the_first_run_creates_everything(first: dg.ExecuteInProcessResult) -> None:
    assert first.success, failure_message(first)
    taken = actions(first)
    assert taken["finetune_job"] == "submitted"
    assert {taken[name] for name in REMOTE_ASSETS - {"finetune_job", "finetune_compute", "live_traffic"}} == {"created"}
    assert {taken[name] for name in SCORING} == {"scored"}
    checks = first.get_asset_check_evaluations()
    assert len(checks) == 53
    # Two training steps do not have to make a good model; everything else has to hold.
    assert {check.check_name for check in checks if not check.passed} <= {
        "evaluation_loss_fell",
        "answers_are_not_empty",
        "answers_are_answers",
        "better_than_base_model",
    }


@pytest.mark.slow
def test_the_reference_has_every_metadata_key(first: Result, graph: Graph) -> None:
    listed = graph.run("list_billing")
    for event in [*first.get_asset_materialization_events(), *listed.get_asset_materialization_events()]:
        materialization = event.step_materialization_data.materialization
        name = asset_name(materialization.asset_key)
        recorded = set(materialization.metadata)
        patterns = {
            re.compile(re.sub("<[a-z]+>", "[a-z0-9_]+", key)): meaning
            for key, meaning in {**EVERY_ASSET, **KEYS[name]}.items()
        }
        unknown = {key for key in recorded if not any(pattern.fullmatch(key) for pattern in patterns)}
        assert unknown == set(), f"{name} has keys without a meaning: write one in phi_assets/docs/metadata_keys.py"
        always = {pattern for pattern, meaning in patterns.items() if not meaning.startswith("Where")}
        absent = {pattern.pattern for pattern in always if not any(map(pattern.fullmatch, recorded))}
        assert absent == set(), f"{name} lacks what phi_assets/docs/metadata_keys.py says that it has"


@pytest.mark.slow
def test_everything_that_was_made_says_whose_it_is(
    first: dg.ExecuteInProcessResult, graph: Graph, workspace: Workspace
) -> None:
    ml, job, model = workspace.ml, first.asset_value("finetune_job"), first.asset_value("registered_model")
    deployment = first.asset_value("online_deployment")
    own: list[Any] = [
        ml.jobs.get(job.name),
        ml.models.get(model.name, model.version),
        ml.online_endpoints.get(deployment.endpoint),
        ml.online_deployments.get(deployment.name, deployment.endpoint),
    ]
    for thing in own:
        assert Owner("phi_assets", graph.recipe.name).tags.items() <= thing.tags.items(), thing.name
    # Others who share this emulator may have made them, on behalf of no recipe.
    shared: list[Any] = [ml.compute.get(first.asset_value("finetune_compute").name)]
    for split in ("train_sft", "validation_sft", "test_sft"):
        sample = first.asset_value(f"sampled_{split}")
        name = f"{graph.recipe.dataset.name}-{split.replace('_', '-')}"
        shared.append(ml.data.get(name, data_version(sample)))
    for thing in shared:
        assert Owner("phi_assets").tags.items() <= thing.tags.items(), thing.name


@pytest.mark.slow
def test_the_second_run_reuses_everything(first, graph: Graph, emulator: process.Connection) -> None:
    with Requests(emulator) as requests:
        second = graph.run()
    assert second.success, failure_message(second)
    assert set(actions(second).values()) == {"reused"}
    assert set(actions(second)) >= REMOTE_ASSETS | SCORING
    assert requests.writes == []


@pytest.mark.slow
def test_what_was_deleted_outside_this_project_is_made_again(first, graph: Graph, workspace) -> None:
    workspace.ml.online_endpoints.begin_delete(name="twice").wait()
    healed = graph.run()
    assert healed.success, failure_message(healed)
    taken = actions(healed)
    assert taken["online_endpoint"] == taken["online_deployment"] == "created"
    assert taken["finetune_job"] == taken["registered_model"] == "reused"


@pytest.mark.slow
def test_teardown_leaves_no_endpoint(first, graph: Graph, workspace) -> None:
    assert graph.run("teardown").success
    assert "twice" not in {endpoint.name for endpoint in workspace.ml.online_endpoints.list()}
    assert graph.run("teardown").success


BAD_RECIPES = {
    "unknown model": ({"model": {"name": "Phi-30-huge"}}, ["Phi-30-huge", "azureml"]),
    "unknown version": ({"model": {"version": "99"}}, ["99", "Phi-3-mini-4k-instruct"]),
    "compute not allowed": (
        {"compute": {"name": "small-cluster", "size": "Standard_NC4as_T4_v3"}},
        ["Standard_NC4as_T4_v3", "Standard_NC24ads_A100_v4"],
    ),
    "unknown size": ({"compute": {"name": "odd-cluster", "size": "Standard_Z1000"}}, ["Standard_Z1000"]),
    "unknown parameter": ({"parameters": {"learning_rat": 0.1}}, ["learning_rat", "learning_rate"]),
    "bad value": ({"parameters": {"lr_scheduler_type": "sawtooth"}}, ["sawtooth", "cosine"]),
    "unknown component": ({"component": {"version": "9.9.9"}}, ["9.9.9", "chat_completion_pipeline"]),
}


@pytest.mark.parametrize("name", BAD_RECIPES)
def test_a_bad_recipe_says_why_and_submits_nothing(name, emulator, workspace, tmp_path, instance) -> None:
    changes, expected = BAD_RECIPES[name]
    recipe = write_recipe(tmp_path / "recipe.yaml", changes)
    graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance)
    with Requests(emulator) as requests:
        result = graph.run("finetune")
    assert not result.success
    message = failure_message(result)
    for word in expected:
        assert word in message
    assert not [path for path in requests.writes if "/jobs/" in path.lower()]
    assert len(result.get_step_failure_events()) == 1


def test_percent_zero_is_refused_before_anything_loads(tmp_path: Path) -> None:
    from phi_assets.config.recipe_files import RecipeError, load_recipe

    with pytest.raises(RecipeError, match=r"sample\.percent = 0"):
        load_recipe(str(write_recipe(tmp_path / "recipe.yaml", {"sample": {"percent": 0}})))


@pytest.mark.slow
def test_a_diverging_fine_tune_completes_fails_its_check_and_registers_nothing(
    emulator, workspace, tmp_path, instance
) -> None:
    changes = {"parameters": {**FAST_PARAMETERS, "max_steps": 10, "learning_rate": 1e30, "max_grad_norm": 1e30}}
    recipe = write_recipe(tmp_path / "recipe.yaml", changes)
    result = Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance).run("finetune")
    assert not result.success
    (check,) = [found for found in result.get_asset_check_evaluations() if found.check_name == "losses_are_finite"]
    assert not check.passed
    for part in (
        "chat_completion_finetune | {",
        "'eval_loss': nan",
        "eval_loss was not recorded at 1 of 1 occasions",
        "Lower `learning_rate`",
        "http://127.0.0.1:",
    ):
        assert part in (check.description or ""), check.description
    job = re.search(r"phi3-ft-[0-9a-f]{12}-r1", check.description or "")
    assert job is not None
    assert workspace.ml.jobs.get(job.group()).status == "Completed"
    assert actions(result)["finetune_job"] == "submitted"
    assert "registered_model" not in actions(result)
