"""What a recipe's endpoint is called: by a name that no other customer of the region has, the same on every machine."""

import hashlib
from collections.abc import Callable, Sequence

from phi_assets.config.recipe import ServingSection

_DEFAULT = "ultrachat-completion"
_SUFFIX_DIGITS = 8


def workspace_path(subscription_id: str, resource_group: str, name: str) -> str:
    """ARM id of a workspace."""
    return (
        f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{name}"
    )


def endpoint_names(section: ServingSection, workspace: str) -> tuple[str, ...]:
    """The name of the recipe's endpoint in the workspace of this ARM id, then names that it may have from before.

    `serving.endpoint` as it stands, or `ultrachat-completion-` and eight hexadecimal digits that are computed from
    subscription, resource group and workspace: names are unique per region over all of Azure's customers. Without the
    digits it was the default once; an endpoint of the recipe that still has that name is used on.
    """
    if section.endpoint is not None:
        return (section.endpoint,)
    digits = hashlib.sha256(workspace.lower().encode()).hexdigest()[:_SUFFIX_DIGITS]
    return (f"{_DEFAULT}-{digits}", _DEFAULT)


def used_name(names: Sequence[str], is_the_recipes: Callable[[str], bool]) -> str:
    """The one of `endpoint_names` that counts: one from before as long as an endpoint of the recipe has it."""
    return next((old for old in names[1:] if is_the_recipes(old)), names[0])
