"""What a recipe's endpoint is called: by a name that no other customer of the region has, the same on every machine."""

import hashlib
import re
from collections.abc import Callable, Sequence

from phi_assets.config.recipe import ServingSection

_BEFORE = "ultrachat-completion"
_SUFFIX_DIGITS = 8
_LONGEST_NAME = 32


def workspace_path(subscription_id: str, resource_group: str, name: str) -> str:
    """ARM id of a workspace."""
    return (
        f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{name}"
    )


def endpoint_names(section: ServingSection, recipe: str, workspace: str) -> tuple[str, ...]:
    """The name of the endpoint of the recipe of this name in the workspace of this ARM id, then names from before.

    `serving.endpoint` as it stands, or the recipe's name and eight hexadecimal digits that are computed from
    subscription, resource group, workspace and recipe: names are unique per region over all of Azure's customers. The
    defaults of earlier releases did not say the recipe; an endpoint of the recipe that still has one is used on.
    """
    if section.endpoint is not None:
        return (section.endpoint,)
    path = workspace.lower()
    stem = re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-")
    stem = stem if stem[:1].isalpha() else f"recipe-{stem}"
    stem = stem[: _LONGEST_NAME - _SUFFIX_DIGITS - 1].rstrip("-")
    return (f"{stem}-{_digits(f'{path}/{recipe}')}", f"{_BEFORE}-{_digits(path)}", _BEFORE)


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_SUFFIX_DIGITS]


def used_name(names: Sequence[str], is_the_recipes: Callable[[str], bool]) -> str:
    """The one of `endpoint_names` that counts: one from before as long as an endpoint of the recipe has it."""
    return next((old for old in names[1:] if is_the_recipes(old)), names[0])
