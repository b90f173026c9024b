"""The code location loads fast, is complete, and every asset tells a person what it is."""

import runpy
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.errors import DagsterUserCodeLoadError, user_code_error_boundary
from dagster._utils.error import serializable_error_info_from_exc_info

from phi_assets.config.dataset import SAMPLED_SPLITS
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import PROJECT_ROOT, load_settings
from phi_assets.definitions import build_definitions

HEAVY = ("azure.ai.ml", "torch", "transformers", "datasets", "mlflow", "matplotlib", "pandas", "scipy", "sacrebleu")

EXPECTED_DEPENDENCIES = {
    "source": set(),
    **{f"raw_{split}": {"source"} for split in ("train_sft", "test_sft", "train_gen", "test_gen")},
    **{f"sampled_{split}": {f"raw_{split}"} for split in ("test_sft", "test_gen")},
    "sampled_train_sft": {"raw_train_sft", "sampled_test_sft"},
    "sampled_validation_sft": {"raw_train_sft", "sampled_test_sft"},
    "sampled_train_gen": {"raw_train_gen", "sampled_test_gen"},
    "preflight": set(),
    "foundation_model": {"preflight"},
    "finetune_compute": {"preflight", "foundation_model"},
    "finetune_job": {
        "sampled_train_sft",
        "sampled_validation_sft",
        "sampled_test_sft",
        "preflight",
        "foundation_model",
        "finetune_compute",
    },
    "registered_model": {"finetune_job"},
    "online_endpoint": {"preflight"},
    "online_deployment": {"preflight", "online_endpoint", "registered_model", "foundation_model"},
    "live_traffic": {"online_endpoint", "online_deployment", "sampled_test_gen"},
    "base_answers": {"live_traffic", "foundation_model", "sampled_test_gen"},
    "scoring_result": {"live_traffic", "base_answers", "sampled_test_gen"},
    "still_billing": set(),
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(load_settings({}), load_recipe("quickstart"))


def test_loading_the_code_location_imports_no_heavy_library() -> None:
    script = f"import phi_assets.definitions, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [("PHI_TARGET", "moon", "- PHI_TARGET='moon' is not one of emulator, azure"), ("PHI_RECIPE", "nothing", "nothing")],
)
def test_the_ui_shows_one_message_of_what_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    # As Dagster's code server loads a module, and turns into text what it raises.
    with (
        pytest.raises(dg.DagsterError) as raised,
        user_code_error_boundary(DagsterUserCodeLoadError, lambda: "Error occurred during the loading"),
    ):
        runpy.run_path(str(PROJECT_ROOT / "phi_assets" / "definitions.py"))
    shown = serializable_error_info_from_exc_info((raised.type, raised.value, raised.tb))
    assert (shown.stack, shown.cause, shown.context) == ([], None, None)
    assert says in shown.message
    assert shown.cls_name in ("SettingsError", "RecipeError")


def test_lineage(definitions: dg.Definitions) -> None:
    found = {
        spec.key.path[-1]: {dep.asset_key.path[-1] for dep in spec.deps}
        for spec in definitions.resolve_all_asset_specs()
    }
    assert found == EXPECTED_DEPENDENCIES


def test_an_asset_that_reports_its_own_checks_has_no_others(definitions: dg.Definitions) -> None:
    """Automation would run it without those, and wait for ever where they block what depends on it."""
    graph = definitions.resolve_asset_graph()
    reporting = [asset for asset in graph.assets_defs if asset.keys and asset.check_keys]
    assert {key.path[-1] for asset in reporting for key in asset.keys} == {
        "preflight",
        "online_deployment",
        "live_traffic",
    }
    for asset in reporting:
        assert graph.get_check_keys_for_assets(set(asset.keys)) == set(asset.check_keys)


def test_what_is_billing_depends_on_nothing_and_is_in_no_job_that_makes_something(definitions: dg.Definitions) -> None:
    """So that looking never waits for, starts, or ages what costs money."""
    graph = definitions.resolve_asset_graph()
    node = graph.get(dg.AssetKey(["workspace", "still_billing"]))
    assert not node.parent_keys
    assert not node.child_keys
    assert node.automation_condition is None
    jobs = [job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")]
    with_it = {job.name for job in jobs if node.key in job.asset_layer.executable_asset_keys}
    assert with_it == {"list_billing"}


def test_data_that_is_fetched_is_prepared_after_preflight(definitions: dg.Definitions) -> None:
    fetched = build_definitions(load_settings({}), load_recipe("phi4_ultrachat"))
    for graph, waits in ((definitions.resolve_asset_graph(), False), (fetched.resolve_asset_graph(), True)):
        for key in graph.get_all_asset_keys():
            if key.path[-1].startswith("sampled_"):
                preflight = dg.AssetKey([*key.path[:-1], "preflight"])
                assert (preflight in graph.get(key).parent_keys) == waits, key
    # It is the first that is executed: what would be in vain is said before gigabytes are fetched.
    (node,) = {each.node_def for each in fetched.resolve_asset_graph().assets_defs if "preflight" in str(each.keys)}
    assert node.tags["dagster/priority"] == "10"


def test_a_job_that_prepares_data_comes_after_preflight_which_reads_its_cluster(tmp_path: Path) -> None:
    from tests.graph_runs import write_recipe

    def graph(name: str, **preparation: int) -> AssetGraph:
        changes = {"dataset": {"prepare": "cluster"}, "preparation": preparation}
        recipe = load_recipe(str(write_recipe(tmp_path / name, changes)))
        return build_definitions(load_settings({}), recipe).resolve_asset_graph()

    one, other = graph("one.yaml"), graph("other.yaml", max_nodes=9)
    keys = {key.path[-1]: key for key in one.get_all_asset_keys()}
    sampled = {name for name in keys if name.startswith("sampled_")}
    assert len(sampled) == 5
    assert all(keys["preflight"] in one.get(keys[name]).parent_keys for name in sampled)
    edited = {name for name, key in keys.items() if one.get(key).code_version != other.get(key).code_version}
    assert edited == {"preflight"}


def test_everything_that_costs_money_comes_after_preflight_and_no_data_does(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    below = graph.get(dg.AssetKey(["quickstart", "preflight"])).child_keys
    assert {key.path[-1] for key in below} == {
        "foundation_model",
        "finetune_compute",
        "finetune_job",
        "online_endpoint",
        "online_deployment",
    }
    jobs = {job.name: job for job in definitions.resolve_all_job_defs()}
    with_it = {
        name
        for name, job in jobs.items()
        if dg.AssetKey(["quickstart", "preflight"]) in job.asset_layer.executable_asset_keys
    }
    assert {name for name in with_it if not name.startswith("__")} == {
        "quickstart__finetune",
        "quickstart__deploy",
        "quickstart__finetune_and_deploy",
    }


def test_every_asset_is_described_owned_grouped_and_versioned(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.group_name in {"bundled", "quickstart", "workspace"}
        assert spec.kinds, spec.key
        assert len(spec.kinds) <= 3, spec.key
        assert spec.code_version, spec.key


def test_owners_are_the_recipes() -> None:
    owners = ["team:support", "somebody@example.com"]
    recipe = load_recipe("quickstart").model_copy(update={"owners": owners})
    specs = list(build_definitions(load_settings({}), recipe).resolve_all_asset_specs())
    assert {tuple(spec.owners) for spec in specs if spec.group_name != "workspace"} == {tuple(owners)}


def test_a_recipe_edit_changes_the_code_version_of_exactly_the_assets_it_touches(tmp_path) -> None:
    from tests.graph_runs import write_recipe

    def versions(path) -> dict[str, str | None]:
        specs = build_definitions(load_settings({}), load_recipe(str(path))).resolve_all_asset_specs()
        return {spec.key.path[-1]: spec.code_version for spec in specs}

    before = versions(write_recipe(tmp_path / "before.yaml", {}))

    def touched(name: str, changes: dict) -> set[str]:
        after = versions(write_recipe(tmp_path / f"{name}.yaml", changes))
        return {key for key in before if before[key] != after[key]}

    def with_preflight(*assets: str) -> set[str]:
        return {"preflight", *assets}

    assert touched("rate", {"parameters": {"learning_rate": 1e-3}}) == with_preflight("finetune_job")
    sampled = [f"sampled_{split}" for split in SAMPLED_SPLITS]
    assert touched("percent", {"sample": {"percent": 20}}) == with_preflight(*sampled)
    assert touched("model", {"model": {"version": "13"}}) == with_preflight("foundation_model")
    assert touched("lease", {"serving": {"lease_hours": 1}}) == with_preflight("online_endpoint")
    assert touched("tags", {"serving": {"tags": {"owner": "somebody"}}}) == with_preflight("online_endpoint")
    # How a deployment proves itself is no part of what is true once it has.
    assert touched("steps", {"rollout": {"steps": [100], "observations": 9, "max_latency_ratio": 2}}) == set()
    assert touched("retire", {"rollout": {"retire": "keep"}}) == {"live_traffic"}
    assert touched("count", {"serving": {"instance_count": 2}}) == with_preflight("online_deployment")
    assert touched("budget", {"budget": {"cost": 1000}}) == with_preflight()
    assert touched("accepted", {"preflight": {"accept": ["model_retired"]}}) == with_preflight()
    assert touched("timeout", {"finetune": {"timeout_hours": 3}}) == with_preflight()
    assert touched("scoring", {"scoring": {"samples": 3}}) == {"base_answers", "scoring_result"}
    # The bound is the check's.
    assert touched("bound", {"scoring": {"max_p95_seconds": 1}}) == set()
    assert touched("experiment", {"finetune": {"experiment": "other"}}) == set()


def test_the_workspace_file_loads(tmp_path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
