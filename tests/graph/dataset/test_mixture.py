"""A recipe whose data is a mixture: every source has assets of its own, shared as any data set is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from phi_assets.config.dataset import SAMPLED_SPLITS
from phi_assets.config.recipe_files import RecipeError, load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.location import Location
from tests.dataset.shards import make_rows, write_shards

CONVERSATIONS = dg.AssetSpec(["team", "conversations"])
SAMPLES = ("sampled_test_sft", "sampled_train_sft", "sampled_validation_sft")


def write_recipe(folder: Path, dataset: Mapping[str, Any], name: str = "bot") -> Path:
    content = {
        "extends": "quickstart",
        "name": name,
        "dataset": dataset,
        "sample": {"percent": 100},
        "contract": {
            "context_tokens": 4096,
            "near_duplicate_threshold": 0.7,
            "policies": {"near_duplicate": "warn"},
        },
        "serving": {"endpoint": f"{name}-endpoint"},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / f"{name}.yaml"


def mixed(folder: Path, **members: dict[str, Any]) -> dict[str, Any]:
    """A folder and an asset."""
    sources = {
        "chats": {"source": "local", "path": str(folder / "chats")},
        "desk": {"source": "asset", "asset": "team/conversations"},
    }
    return {"name": "both", "mixture": {name: each | members.get(name, {}) for name, each in sources.items()}}


def definitions_of(folder: Path, *recipes: Path, upstream: Any = CONVERSATIONS) -> dg.Definitions:
    settings = load_settings({"PHI_HOME": str(folder / "home"), "PHI_STORAGE": str(folder / "refs")})
    location = Location(settings)
    load_recipe.cache_clear()
    parts = [location.add(Lineage.of(load_recipe(str(path)), settings)) for path in recipes]
    return dg.Definitions.merge(*parts, dg.Definitions(assets=[upstream]))


def metadata(instance: dg.DagsterInstance, *key: str) -> Mapping[str, dg.MetadataValue]:
    event = instance.get_latest_materialization_event(dg.AssetKey(key))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization.metadata


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    for seed, split in enumerate(("train_sft", "test_sft", "train_gen", "test_gen")):
        write_shards(tmp_path / "chats", split, make_rows(40, seed))
    return tmp_path


def test_sources_of_every_kind_are_sampled_as_one_and_changes_are_named(chats: Path) -> None:
    seeds = iter((7, 7, 8))

    @dg.asset(key=["team", "conversations"])
    def conversations() -> Any:
        rows = make_rows(60, seed=next(seeds))
        for row in rows[:2]:
            row["messages"][1]["content"] = f"{row['prompt_id'][:3]} {' '.join(map(str, range(200)))}"
        return pl.DataFrame(rows)

    wanted = [["team", "conversations"], *([name, "source"] for name in ("chats", "desk"))]
    wanted += [[name, f"raw_{split}"] for name in ("chats", "desk") for split in ("train_sft", "test_sft")]
    changes = []
    with dg.DagsterInstance.ephemeral() as instance:
        for number, rows in enumerate((90, 20, 20)):
            recipe = write_recipe(chats, mixed(chats, chats={"rows": rows}) | {"oversample": rows > 40}, name="bot")
            definitions = definitions_of(chats, recipe, upstream=conversations)
            keys = [dg.AssetKey(key) for key in [*wanted, *(["bot", sample] for sample in SAMPLES)]]
            result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance, asset_selection=keys
            )
            assert result.success
            checks = {each.check_name for each in result.get_asset_check_evaluations() if not each.passed}
            assert checks <= {"no_warnings"}
            train = metadata(instance, "bot", "sampled_train_sft")
            # What is only warned about is counted, shown with an example, and told by the check.
            assert train["violations/near_duplicate"].value == 1
            assert "% like row 0 of desk" in str(train["violations"].value)
            (warned,) = (
                each.description
                for each in result.get_asset_check_evaluations()
                if each.check_name == "no_warnings" and each.asset_key.path[-1] == "sampled_train_sft"
            )
            assert "near_duplicate 1" in str(warned)
            changes.append(str(train["changed"].value))
            if number == 0:
                table = train["sources"]
                assert isinstance(table, dg.TableMetadataValue)
                rows_of = {record.data["source"]: record.data for record in table.records}
                assert (rows_of["chats"]["rows"], rows_of["chats"]["asked"]) == ("40", "90")
                assert rows_of["desk"]["rows"] == "60"
                assert (rows_of["chats"]["rules broken"], rows_of["desk"]["rules broken"]) == ("-", "near_duplicate 1")
    assert changes[1] == "mixed: chats 90 rows, desk all rows, rows repeated -> chats 20 rows, desk all rows"
    assert changes[2].startswith("raw data of desk: ")
    assert "raw data of chats" not in changes[2]


def test_every_source_has_the_assets_of_a_data_set_and_no_more(chats: Path) -> None:
    recipe = write_recipe(chats, mixed(chats))
    keys = {spec.key for spec in definitions_of(chats, recipe).resolve_all_asset_specs()}
    ours = {key.to_user_string() for key in keys if key.path[0] in ("chats", "desk", "both")}
    names = ("source", "raw_train_sft", "raw_test_sft", "raw_train_gen", "raw_test_gen")
    assert ours == {f"{data}/{name}" for data in ("chats", "desk") for name in names}


def test_a_source_is_shared_with_recipes_that_describe_the_same(chats: Path) -> None:
    alone = {"name": "chats", "source": "local", "path": str(chats / "chats")}
    recipes = [write_recipe(chats, mixed(chats)), write_recipe(chats, alone, "other")]
    specs = list(definitions_of(chats, *recipes).resolve_all_asset_specs())
    assert len({spec.key for spec in specs}) == len(specs)
    with pytest.raises(RecipeError, match="Recipes bot and third call different data chats: give it another name"):
        definitions_of(chats, recipes[0], write_recipe(chats, alone | {"format": "messages"}, "third"))


@pytest.mark.parametrize("edit", [{"chats": {"rows": 9}}, {"chats": {"roles": {"people": "user"}}}, {}])
def test_another_mixture_makes_samples_stale_and_the_data_that_it_changes(chats: Path, edit: Any) -> None:
    versions = []
    for members in ({}, edit):
        specs = definitions_of(chats, write_recipe(chats, mixed(chats, **members))).resolve_all_asset_specs()
        versions.append({spec.key.to_user_string(): spec.code_version for spec in specs})
    stale = {name for name in versions[0] if versions[0][name] != versions[1][name]}
    assert {name for name in stale if name.startswith("bot/sampled")} == (
        {f"bot/sampled_{split}" for split in SAMPLED_SPLITS} if edit else set()
    )
    assert any(name.startswith("chats/") for name in stale) == ("roles" in edit.get("chats", {}))
    assert not any(name.startswith("desk/") for name in stale)


def test_a_mixture_takes_the_place_of_the_source_that_a_recipe_extends(chats: Path) -> None:
    base = write_recipe(chats, mixed(chats))
    extended = load_recipe(str(base))
    assert extended.dataset.source == "hub"
    assert list(extended.dataset.mixture) == ["chats", "desk"]
    more = {"extends": str(base), "dataset": {"mixture": {"chats": {"rows": 5}, "hub": {"repo": "a/b"}}}}
    (chats / "more.yaml").write_text(yaml.safe_dump(more), encoding="utf-8")
    members = load_recipe(str(chats / "more.yaml")).dataset.mixture
    assert (list(members), members["chats"].rows, members["hub"].repo) == (["chats", "desk", "hub"], 5, "a/b")
    one = {"extends": str(base), "dataset": {"source": "bundled"}}
    (chats / "one.yaml").write_text(yaml.safe_dump(one), encoding="utf-8")
    assert not load_recipe(str(chats / "one.yaml")).dataset.mixture


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (
            {"mixture": {"a": {}}, "source": "bundled"},
            "with a `mixture`, each of its members says source, and the dataset does not",
        ),
        ({"total_rows": 5}, "without a `mixture`, nothing is meant by total_rows"),
        ({"mixture": {"a": {"weight": 1}, "b": {}}}, "a `weight` is given to a alone: give one to every member"),
        ({"mixture": {"a": {"weight": 1, "rows": 2}}}, "`rows` and `weight` exclude each other: give a one of them"),
        ({"mixture": {"a": {"rows": 2}}, "total_rows": 5}, "`total_rows` is shared out by weights"),
        ({"mixture": {"A b": {}}}, "dataset.mixture.A b"),
        ({"mixture": {"a": {"wieght": 2}}}, "unknown key; did you mean 'weight'"),
        ({"mixture": {"a": {"source": "local"}}}, "source 'local' needs `path`"),
    ],
)
def test_what_cannot_be_mixed_is_explained(tmp_path: Path, dataset: dict[str, Any], said: str) -> None:
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"dataset": dataset}), encoding="utf-8")
    with pytest.raises(RecipeError, match=said):
        load_recipe(str(tmp_path / "x.yaml"))
