"""Recipes: what they default to, what they refuse, and which code version follows from them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import RecipeError, load_recipe
from phi_assets.config.section import RECIPES_DIR


def written(folder: Path, content: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def load(folder: Path, content: Any) -> Recipe:
    load_recipe.cache_clear()
    return load_recipe(written(folder, content))


def test_the_shipped_recipes_load() -> None:
    assert sorted(path.stem for path in RECIPES_DIR.glob("*.yaml")) == [
        "local_folder",
        "phi3_mini_ultrachat",
        "phi4_ultrachat",
        "quickstart",
    ]
    quickstart, notebook = load_recipe("quickstart"), load_recipe("phi3_mini_ultrachat")
    assert quickstart.dataset.source == "bundled"
    assert (notebook.dataset.source, notebook.dataset.repo) == ("hub", "HuggingFaceH4/ultrachat_200k")
    assert len(notebook.dataset.revision) == 40, "a recipe that ships names a commit"
    assert (notebook.sample.mode, notebook.sample.percent) == ("head", 5)
    assert notebook.finetune.parameters["learning_rate"] == 5e-6
    assert notebook.scoring.parameters() == {
        "temperature": 0.6,
        "top_p": 0.9,
        "do_sample": True,
        "max_new_tokens": 200,
    }


def test_everything_has_a_default(tmp_path: Path) -> None:
    recipe = load(tmp_path, {"description": "only this"})
    assert recipe.name == "mine"
    assert recipe.model.name == "Phi-3-mini-4k-instruct"
    assert recipe.registered_model_name == "Phi-3-mini-4k-instruct-ultrachat-200k"
    assert load(tmp_path, {"serving": {"model_name": "own"}}).registered_model_name == "own"


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe("quickstart").sample.percent = 7  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"sample": {"percent": 0}}, r"- sample\.percent = 0: .*greater than 0"),
        ({"sample": {"percent": -5}}, r"- sample\.percent = -5: .*greater than 0"),
        ({"sample": {"percent": 101}}, r"- sample\.percent = 101: .*less than or equal to 100"),
        ({"sample": {"percent": float("nan")}}, r"- sample\.percent = nan: "),
        ({"sample": {"mode": "tail"}}, r"- sample\.mode = 'tail': .*'head' or 'hash'"),
        ({"sample": {"precent": 5}}, r"- sample\.precent: unknown key; did you mean 'percent'\?"),
        ({"smaple": {"percent": 5}}, r"- smaple: unknown key; did you mean 'sample'\?"),
        ({"sample": {"zzz": 5}}, r"- sample\.zzz: unknown key; known keys: mode, percent, seed"),
        ({"dataset": {"source": "local"}}, r"source 'local' needs `path`"),
        ({"owners": ["nobody"]}, r"- owners\.0 = 'nobody': "),
        ({"serving": {"endpoint": "no_underscore"}}, r"- serving\.endpoint = 'no_underscore': "),
        ({"compute": {"tiers": ["Spot"]}}, r"- compute\.tiers\.0 = 'Spot': "),
        ({"finetune": {"parameters": {"a": [1]}}}, r"finetune\.parameters\.a"),
        ({"rollout": {"steps": [10, 50]}}, r"- rollout\.steps = \[10, 50\]: .*must ascend and end with 100"),
        ({"rollout": {"steps": [50, 10, 100]}}, r"must ascend and end with 100"),
        ({"rollout": {"steps": [50, 50, 100]}}, r"must ascend and end with 100"),
        ({"rollout": {"steps": []}}, r"- rollout\.steps = \[\]: "),
        ({"rollout": {"mirror_percent": 51}}, r"- rollout\.mirror_percent = 51: .*less than or equal to 50"),
        ({"rollout": {"prompts": []}}, r"- rollout\.prompts = \[\]: "),
        ({"rollout": {"retire": "later"}}, r"- rollout\.retire = 'later': .*'delete' or 'keep'"),
        ({"model": "Phi"}, r"- model = 'Phi': "),
        ({"name": "n" * 257}, r"- name = 'nnn.*it has 1 to 256 characters that can be printed"),
        ({"name": " mine"}, r"- name = ' mine': .*ends with none that is blank"),
        ({"name": ""}, r"- name = '': "),
        ([1], r"must hold a mapping of recipe sections, not list"),
        ({1: 2}, r"- 1"),
        ("a: [", r"mine\.yaml is not valid YAML"),
        ("", r"must hold a mapping of recipe sections, not NoneType"),
    ],
)
def test_a_bad_recipe_is_explained(tmp_path: Path, content: Any, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint) as raised:
        load(tmp_path, content)
    assert "mine.yaml" in str(raised.value)


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        load(tmp_path, {"sample": {"percent": 0, "mode": "tail"}, "serving": {"instances": 2}})
    assert len(str(raised.value).splitlines()) == 4


def test_a_recipe_may_say_only_what_differs_from_another(tmp_path: Path) -> None:
    base = load_recipe("quickstart")
    mine = load(tmp_path, {"extends": "quickstart", "finetune": {"parameters": {"learning_rate": 0.005}}})
    assert mine.finetune.parameters == {**base.finetune.parameters, "learning_rate": 0.005}
    assert (mine.name, mine.description) == ("mine", base.description)
    changed = {section for section in Recipe.model_fields if getattr(mine, section) != getattr(base, section)}
    assert changed == {"name", "finetune"}
    for keys in (("contract",), ("dataset", "sample"), ("serving", "rollout"), ("finetune.defaults",)):
        assert mine.code_version(*keys) == base.code_version(*keys)
    assert mine.code_version("finetune.parameters") != base.code_version("finetune.parameters")


def test_a_recipe_extends_one_beside_it_and_that_another_one(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").touch()
    contract = {"tokenizer": "tokenizer.json", "policies": {"schema": "fail"}}
    (tmp_path / "sub").mkdir()
    (tmp_path / "first.yaml").write_text(yaml.safe_dump({"contract": contract, "rollout": {"steps": [50, 100]}}))
    (tmp_path / "second.yaml").write_text(yaml.safe_dump({"extends": "first.yaml", "rollout": {"steps": [10, 100]}}))
    mine = load(tmp_path / "sub", {"extends": "../second.yaml", "contract": {"policies": {"roles": "warn"}}})
    assert mine.contract.tokenizer == tmp_path / "tokenizer.json"
    assert (mine.contract.policies.schema_, mine.contract.policies.roles) == ("fail", "warn")
    assert list(mine.rollout.steps) == [10, 100]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"extends": "mine.yaml"}, r"mine\.yaml extends itself: mine\.yaml -> mine\.yaml"),
        ({"extends": "nothing"}, "Recipe 'nothing' not found: give a YAML file's path, or one of local_folder, phi3"),
        ({"extends": ["quickstart"]}, r"extends = \['quickstart'\]: give the name or the path of a recipe"),
        ({"extends": "quickstart", "sample": {"percent": 0}}, "sample.percent = 0: Input should be greater than 0"),
    ],
)
def test_what_cannot_be_extended_is_explained(tmp_path: Path, content: Any, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        load(tmp_path, content)


@pytest.mark.parametrize("name", ["quickstart", "phi3_mini_ultrachat", "phi4_ultrachat", "local_folder"])
def test_a_copy_of_a_shipped_recipe_is_good_wherever_it_lies(tmp_path: Path, name: str) -> None:
    copy = load(tmp_path, (RECIPES_DIR / f"{name}.yaml").read_text(encoding="utf-8"))
    assert copy == load_recipe(name).model_copy(update={"name": "mine"})
    assert copy.contract.tokenizer is None or copy.contract.tokenizer.is_file()


def test_a_missing_recipe_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"'fast' not found.*local_folder, phi3_mini_ultrachat, phi4_ultrachat, quickstart"
    ):
        load_recipe("fast")
    with pytest.raises(RecipeError, match="not found"):
        load_recipe(str(tmp_path / "absent.yaml"))


def test_a_recipe_edited_during_a_run_does_not_change_that_run(tmp_path: Path) -> None:
    path = written(tmp_path, {"sample": {"percent": 5}})
    first = load_recipe(path)
    written(tmp_path, {"sample": {"percent": 50}})
    assert load_recipe(path) is first


@pytest.mark.parametrize("text", ["5e-6", "5E-6", "5.e-6", "5.0e-6", "0.000005", "+5e-06", ".5e-5"])
def test_small_numbers_are_numbers_however_they_are_written(tmp_path: Path, text: str) -> None:
    recipe = load(tmp_path, f"finetune: {{parameters: {{learning_rate: {text}, other: e5, version: 1-2e3}}}}")
    assert recipe.finetune.parameters == {"learning_rate": 5e-6, "other": "e5", "version": "1-2e3"}


def test_versions_may_be_numbers(tmp_path: Path) -> None:
    assert load(tmp_path, {"model": {"version": 7}}).model.version == "7"


SECTIONS = ("dataset", "sample", "model", "component", "compute", "finetune", "serving", "scoring")


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("dataset", {"revision": "other"}),
        ("sample", {"seed": 43}),
        ("model", {"version": "7"}),
        ("component", {"version": "0.0.83"}),
        ("compute", {"max_nodes": 2}),
        ("finetune", {"parameters": {"learning_rate": 1e-4}}),
        ("serving", {"lease_hours": 1}),
        ("scoring", {"seed": 1}),
    ],
)
def test_the_code_version_changes_exactly_with_its_section(
    tmp_path: Path, section: str, change: dict[str, Any]
) -> None:
    before, after = load(tmp_path, {"name": "a"}), load(tmp_path, {"name": "b", "description": "c", section: change})
    changed = [name for name in SECTIONS if before.code_version(name) != after.code_version(name)]
    assert changed == [section]
    (field,) = change
    others = [name for name in type(getattr(before, section)).model_fields if name != field]
    assert before.code_version(f"{section}.{field}") != after.code_version(f"{section}.{field}")
    assert all(before.code_version(f"{section}.{name}") == after.code_version(f"{section}.{name}") for name in others)
    assert before.code_version("dataset", "sample") == before.code_version("sample", "dataset")
    assert len(before.code_version(section)) == 12


def test_a_code_version_of_nothing_is_refused() -> None:
    with pytest.raises(KeyError, match="'sampel'"):
        Recipe(name="a").code_version("sampel")


def test_prompts_are_chosen_by_seed_and_occasion(tmp_path: Path) -> None:
    prompts = [f"question {number}" for number in range(10)]
    rollout = load(tmp_path, {"rollout": {"prompts": prompts, "observations": 25}}).rollout
    chosen = rollout.chosen_prompts("smoke")
    assert chosen == rollout.chosen_prompts("smoke")
    assert chosen != rollout.chosen_prompts("10 %")
    assert chosen != rollout.model_copy(update={"seed": 43}).chosen_prompts("smoke")
    assert {chosen.count(prompt) for prompt in prompts} == {2, 3}
