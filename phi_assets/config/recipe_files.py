"""Recipes as files: found by name or path, built on one another, and refused in words that name the key."""

import difflib
import glob
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from phi_assets.config.dataset import DatasetSection, SourceSection
from phi_assets.config.recipe import Recipe
from phi_assets.config.section import RECIPES_DIR, member_section

EXTENDS = "extends"


class RecipeError(ValueError):
    """A recipe cannot be used; the message names the file, the key, the value and what is allowed."""


class _Loader(yaml.SafeLoader):
    """Reads `5e-6` as the number that everybody means; YAML 1.1 asks for `5.0e-6` and takes the rest for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


@cache
def load_recipe(name_or_path: str) -> Recipe:
    """Load a recipe by its name in `phi_assets/recipes`, or by the path of a YAML file.

    With `extends`, a file says only what differs from another recipe, named in the same way or by a path relative to
    the file: mappings are merged key by key, anything else takes the place of what was there.

    Raises:
        RecipeError: a file does not exist, is not YAML, has an unknown key or a value that is not allowed, or extends
            itself.
    """
    return _load(_find(name_or_path, Path()), ())


def load_recipes(names: str) -> list[Recipe]:
    """Load the recipes that `PHI_RECIPE` names: names, paths and globs, separated by commas.

    A glob is looked for among the files of the working directory, and without a folder in it among the shipped recipes.

    Raises:
        RecipeError: as for `load_recipe`; and a glob that no file matches.
    """
    found = [path for name in names.split(",") if name.strip() for path in _expand(name.strip())]
    return [load_recipe(name) for name in dict.fromkeys(found)]


def _expand(name: str) -> list[str]:
    if not any(sign in name for sign in "*?["):
        return [name]
    files = sorted(glob.glob(name, recursive=True))
    shipped = sorted(path.stem for path in RECIPES_DIR.glob(f"{name}.yaml")) if "/" not in name else []
    if not files and not shipped:
        raise RecipeError(f"No recipe matches {name!r}, neither a file nor one of the package")
    return [file for file in files if file.endswith((".yaml", ".yml"))] or shipped


def recipe_of(content: Mapping[str, Any], name: str, folder: Path) -> Recipe:
    """The recipe `name` of this content, as a file of `folder` would hold it.

    Raises:
        RecipeError: as for `load_recipe`.
    """
    return _recipe(dict(content), folder / f"{name}.yaml", ())


def _find(name_or_path: str, folder: Path) -> Path:
    path = folder / name_or_path
    if not path.suffix:
        path = RECIPES_DIR / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES_DIR.glob("*.yaml")))
        raise RecipeError(f"Recipe {name_or_path!r} not found: give a YAML file's path, or one of {known}")
    return path


def _load(path: Path, extending: tuple[Path, ...]) -> Recipe:
    if path.resolve() in extending:
        raise RecipeError(f"{path} extends itself: {' -> '.join(file.name for file in (*extending, path))}")
    return _recipe(_read(path), path, extending)


def _recipe(content: dict[str, Any], path: Path, extending: tuple[Path, ...]) -> Recipe:
    base = content.pop(EXTENDS, None)
    if base is not None:
        if not isinstance(base, str):
            raise RecipeError(f"{path}: {EXTENDS} = {base!r}: give the name or the path of a recipe")
        extended = _load(_find(base, path.parent), (*extending, path.resolve()))
        # Paths in it are complete by now.
        before = extended.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"name"})
        content = _merged(_without_other_data(before, content), content)
    try:
        return Recipe.model_validate({"name": path.stem, **content}, context=path.resolve().parent)
    except ValidationError as error:
        raise RecipeError(f"{path} is not a usable recipe:\n" + "\n".join(_problems(error))) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - it is a safe loader
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold a mapping of recipe sections, not {type(content).__name__}")
    return content


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _without_other_data(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The base without its source where the changes have a mixture, and the other way round."""
    data, new = base.get("dataset"), changes.get("dataset")
    if not isinstance(data, dict) or not isinstance(new, dict):
        return base
    mixing = DatasetSection.model_fields.keys() - SourceSection.model_fields.keys() - {"name"}
    replaced = set(SourceSection.model_fields) if new.get("mixture") else mixing if new.keys() & {"source"} else set()
    return {**base, "dataset": {key: value for key, value in data.items() if key not in replaced}}


def _problems(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        location = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"- {location}: unknown key{_suggestion(problem['loc'])}")
        else:
            lines.append(f"- {location} = {problem['input']!r}: {problem['msg']}")
    return lines


def _suggestion(location: tuple[int | str, ...]) -> str:
    model: Any = Recipe
    for part in location[:-1]:
        # In a mapping, what follows is a name.
        model = member_section(model) or model.model_fields[str(part)].annotation
    close = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(model.model_fields)}"
