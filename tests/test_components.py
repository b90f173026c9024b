"""Fine-tunes as components of a Dagster project: many side by side, none in another's way."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.scaffold.scaffold import NoParams
from dagster.components.testing import create_defs_folder_sandbox

import phi_assets
from phi_assets import FineTune
from phi_assets.components import FineTuneScaffolder
from phi_assets.config.recipe_files import RecipeError, load_recipe, load_recipes
from phi_assets.config.settings import Settings, load_settings
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sources.handed_over import folder_with
from phi_assets.definitions import build_definitions
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.location import Location
from tests.dataset.shards import make_rows

TYPE = "phi_assets.FineTune"


class Project:
    """A Dagster project whose `defs` folder components and modules are written into."""

    def __init__(self, sandbox: Any) -> None:
        self._sandbox = sandbox

    @property
    def defs(self) -> Path:
        return self._sandbox.defs_folder_path

    def add(self, name: str, attributes: dict[str, Any]) -> Path:
        folder = self.defs / name
        folder.mkdir(parents=True)
        (folder / "defs.yaml").write_text(yaml.safe_dump({"type": TYPE, "attributes": attributes}), encoding="utf-8")
        return folder / "defs.yaml"

    def load(self) -> dg.Definitions:
        with self._sandbox.build_all_defs() as definitions:
            definitions.resolve_all_job_defs()
            return definitions


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("PHI_HOME", str(tmp_path / "phi-home"))
    with create_defs_folder_sandbox() as sandbox:
        yield Project(sandbox)


def keys(definitions: dg.Definitions) -> set[str]:
    return {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}


def test_the_component_is_one_of_those_that_dg_lists() -> None:
    assert "FineTune" in dir(phi_assets)
    assert FineTune.get_model_cls() is not None
    with pytest.raises(AttributeError, match="no attribute 'FineTunes'"):
        phi_assets.FineTunes  # noqa: B018


def test_two_fine_tunes_stand_side_by_side_and_share_what_they_have_in_common(project: Project) -> None:
    project.add("support_bot", {"extends": "quickstart"})
    project.add("sales_bot", {"extends": "quickstart", "sample": {"percent": 20}, "group": "sales"})
    definitions = project.load()
    found = keys(definitions)
    assert {key.partition("/")[0] for key in found} == {"support_bot", "sales_bot", "bundled", "workspace"}
    assert {key for key in found if key.startswith("bundled/")} == {
        "bundled/source",
        *(f"bundled/raw_{split}" for split in ("train_sft", "test_sft", "train_gen", "test_gen")),
    }
    assert len([key for key in found if key.endswith("/finetune_job")]) == 2
    jobs = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    of_recipes = {name for name in jobs if "__" in name}
    assert jobs - of_recipes == {"cancel_detached", "list_billing", "reap_expired"}
    assert len(of_recipes) == 8
    nodes = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    assert nodes[dg.AssetKey(["sales_bot", "finetune_job"])].group_name == "sales"
    assert nodes[dg.AssetKey(["support_bot", "finetune_job"])].group_name == "support_bot"


@pytest.mark.parametrize("kind", ["yaml", "python"])
def test_what_is_scaffolded_works(project: Project, kind: Any) -> None:
    folder = project.defs / "bot"
    folder.mkdir()
    request = dg.ScaffoldRequest(
        type_name=TYPE, target_path=folder, scaffold_format=kind, project_root=None, params=NoParams()
    )
    FineTuneScaffolder().scaffold(request)
    assert "bot/scoring_result" in keys(project.load())


def test_a_projects_own_assets_and_resources_are_left_alone(project: Project) -> None:
    (project.defs / "own.py").write_text(
        "import dagster as dg\n"
        "@dg.asset(automation_condition=dg.AutomationCondition.eager())\n"
        "def own() -> int: return 1\n"
        "class Store(dg.InMemoryIOManager): ...\n"
        "defs = dg.Definitions(resources={'io_manager': Store()})\n",
        encoding="utf-8",
    )
    project.add("bot", {"extends": "quickstart"})
    definitions = project.load()
    graph = definitions.resolve_asset_graph()
    automation = next(sensor for sensor in definitions.sensors or [] if sensor.name == "phi_automation")
    assert isinstance(automation, dg.AutomationConditionSensorDefinition)
    assert dg.AssetKey("own") not in automation.asset_selection.resolve(graph)
    assert dg.AssetKey(["bot", "finetune_job"]) in automation.asset_selection.resolve(graph)
    job = next(job for job in definitions.resolve_all_job_defs() if job.name == "bot__finetune_and_deploy")
    assert dg.AssetKey("own") not in job.asset_layer.executable_asset_keys


def test_a_wrong_key_is_named_with_its_line(project: Project) -> None:
    path = project.add("bot", {"extends": "quickstart", "finetune": {"parametrs": {"seed": 1}}})
    with pytest.raises(ComponentTreeException) as caught:
        project.load()
    assert f"attributes.finetune.parametrs at {path}:" in str(caught.value.__cause__)


def test_templates_stand_for_values_and_what_they_stand_for_is_checked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOT_ENDPOINT", "bot-from-the-environment")
    attributes: dict[str, Any] = {
        "extends": "quickstart",
        "key_prefix": "team/bot",
        "owners": ["somebody@example.com"],
        "tags": {"cost-centre": "7"},
        "automation": False,
        "serving": {"endpoint": "{{ env.BOT_ENDPOINT }}"},
    }
    path = project.add("bot", attributes)
    specs = {spec.key: spec for spec in project.load().resolve_all_asset_specs()}
    endpoint = specs[dg.AssetKey(["team", "bot", "online_endpoint"])]
    assert endpoint.owners == ["somebody@example.com"]
    assert endpoint.tags["cost-centre"] == "7"
    assert all(spec.automation_condition is None for key, spec in specs.items() if key.path[0] == "team")
    monkeypatch.setenv("BOT_ENDPOINT", "No such name!")
    path.write_text(yaml.safe_dump({"type": TYPE, "attributes": attributes}), encoding="utf-8")
    with pytest.raises(ComponentTreeException) as caught:
        project.load()
    assert isinstance(caught.value.__cause__, RecipeError)
    assert "serving.endpoint = 'No such name!'" in str(caught.value.__cause__)


def test_templates_stand_for_values_of_the_sources_of_a_mixture(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDER", "/data/chats")
    monkeypatch.setenv("ROWS", "9")
    chats = {"source": "local", "path": "{{ env.FOLDER }}", "rows": "{{ env.ROWS }}"}
    project.add("bot", {"extends": "quickstart", "dataset": {"name": "both", "mixture": {"chats": chats, "ours": {}}}})
    keys = {spec.key.to_user_string() for spec in project.load().resolve_all_asset_specs()}
    assert {"chats/raw_train_sft", "ours/raw_train_sft"} <= keys


def test_keys_can_be_decided_in_python() -> None:
    class TeamFineTune(FineTune):
        def get_lineage(self, settings: Settings) -> Lineage:
            return replace(super().get_lineage(settings), group="llm", prefix=("llm", self.recipe.name))

    definitions = TeamFineTune(load_recipe("quickstart")).build_in(Location(load_settings({})))
    spec = next(spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[-1] == "finetune_job")
    assert (spec.key.path, spec.group_name) == (["llm", "quickstart", "finetune_job"], "llm")


CONFLICTS: dict[str, tuple[dict[str, Any], str]] = {
    "same keys": ({"key_prefix": "first"}, "Two recipes are called first"),
    "same endpoint": ({"serving": {"endpoint": "taken"}}, "have the same endpoint taken"),
    "same cluster": ({"compute": {"name": "shared", "max_nodes": 3}}, "describe cluster shared differently"),
    "same data set": ({"dataset": {"source": "hub", "name": "chats"}}, "call different data chats"),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_what_is_in_each_others_way_is_one_message_at_load(project: Project, name: str) -> None:
    changes, expected = CONFLICTS[name]
    first = {
        "extends": "quickstart",
        "dataset": {"name": "chats"},
        "serving": {"endpoint": "taken"},
        "compute": {"name": "shared"},
    }
    second: dict[str, Any] = {"extends": "quickstart", "dataset": {"name": "chats"}, "compute": {"name": "shared"}}
    project.add("first", first)
    project.add("second", {**second, **changes})
    with pytest.raises(ComponentTreeException) as caught:
        project.load()
    assert expected in str(caught.value.__cause__)
    assert "first" in str(caught.value.__cause__)


def test_several_recipes_of_the_environment_are_one_code_location(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("extends: quickstart\n", encoding="utf-8")
    recipes = load_recipes(f"quickstart, {tmp_path}/*.yaml, {tmp_path}/one.yaml")
    assert [recipe.name for recipe in recipes] == ["quickstart", "one", "two"]
    found = keys(build_definitions(load_settings({}), *recipes))
    assert {f"{name}/scoring_result" for name in ("quickstart", "one", "two")} <= found
    assert {recipe.name for recipe in load_recipes("phi*")} == {"phi3_mini_ultrachat", "phi4_ultrachat"}
    with pytest.raises(RecipeError, match=r"No recipe matches 'nothing\*'"):
        load_recipes("nothing*")


def test_twenty_recipes_are_twenty_lineages(tmp_path: Path) -> None:
    recipes = [load_recipe("quickstart").model_copy(update={"name": f"recipe-{number}"}) for number in range(20)]
    definitions = build_definitions(load_settings({}), *recipes)
    nodes = definitions.get_repository_def().get_all_jobs()
    graph = definitions.resolve_asset_graph()
    one = {key for key in graph.get_all_asset_keys() if key.path[0] == "recipe_7"}
    assert len(graph.get_all_asset_keys()) == 20 * len(one) + 5 + 1
    for key in one:
        parents = graph.get(key).parent_keys
        assert {parent.path[0] for parent in parents} <= {"recipe_7", "bundled"}
    pools = {asset.op.pool for asset in graph.assets_defs if asset.is_executable}
    assert len({pool for pool in pools if pool}) == 20
    assert len([job for job in nodes if job.name.startswith("recipe_7__")]) == 4


FORMS = {
    "polars": lambda table, _: table,
    "pandas": lambda table, _: table.to_pandas(),
    "pyarrow": lambda table, _: table.to_arrow(),
    "a file": lambda table, folder: _written(table, folder) / "chats.parquet",
    "a folder": lambda table, folder: str(_written(table, folder)),
    "a URL": lambda table, folder: f"file://{_written(table, folder)}/chats.parquet",
}


def _written(table: pl.DataFrame, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    table.write_parquet(folder / "chats.parquet")
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_training_data_may_be_handed_over_in_many_forms(form: str, tmp_path: Path) -> None:
    table = pl.DataFrame(make_rows(3, seed=1))
    folders = [folder_with(FORMS[form](table, tmp_path / "rows"), tmp_path / "data") for _ in range(2)]
    assert folders[0] == folders[1]
    (path,) = folders[0].iterdir()
    assert pl.read_parquet(path).equals(table)
    assert not [left for left in (tmp_path / "data").glob("*") if left.name.startswith(".")]


def test_training_data_may_be_another_asset(tmp_path: Path) -> None:
    recipe = tmp_path / "bot.yaml"
    dataset = {"source": "asset", "asset": "team/conversations", "name": "conversations"}
    content = {
        "extends": "quickstart",
        "dataset": dataset,
        "sample": {"percent": 100},
        "contract": {"context_tokens": 4096},
    }
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
    seeds = iter((1, 1, 2))

    @dg.asset(key=["team", "conversations"])
    def conversations() -> Any:
        return pl.DataFrame(make_rows(60, seed=next(seeds)))

    ours = build_definitions(load_settings({"PHI_HOME": str(tmp_path / "home")}), load_recipe(str(recipe)))
    definitions = dg.Definitions.merge(ours, dg.Definitions(assets=[conversations]))
    graph = definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey(["conversations", "source"])).parent_keys == {conversations.key}
    wanted = ["team/conversations", "conversations/source", "conversations/raw_train_sft", "conversations/raw_test_sft"]
    wanted += ["bot/sampled_test_sft", "bot/sampled_train_sft", "bot/sampled_validation_sft"]
    hashes, changes = [], []
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(3):
            result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(key.split("/")) for key in wanted]
            )
            hashes.append(result.asset_value(dg.AssetKey(["bot", "sampled_train_sft"])).sha256)
            source = instance.get_latest_materialization_event(dg.AssetKey(["conversations", "source"]))
            assert source is not None
            assert source.asset_materialization is not None
            changes.append(str(source.asset_materialization.metadata["changed"].value))
    assert hashes[0] == hashes[1] != hashes[2]
    assert "revision" not in changes[1]
    assert "revision: " in changes[2]


def test_what_is_no_data_is_refused_in_words(tmp_path: Path) -> None:
    for value, expected in [
        (42, "A int was handed over as training data"),
        (pl.DataFrame(), "An empty table"),
        (str(tmp_path / "nowhere"), "nothing is there"),
        (f"file://{tmp_path}/nowhere.parquet", "cannot be read from file://"),
    ]:
        with pytest.raises(DatasetError, match=expected):
            folder_with(value, tmp_path / "data")
    assert not [left for left in (tmp_path / "data").glob("*") if left.name.startswith(".")]
