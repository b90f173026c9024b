"""What all asset modules share: ownership and the declaration of what an asset reads from the recipe."""

from typing import Any

OWNERS = ["team:ml-platform"]

AZUREML_POOL = "azureml"
"""One writer at a time per workspace: endpoint updates are last-writer-wins, concurrent uploads collide."""

RECIPE_KEYS = "recipe_keys"


def reads(*keys: str) -> dict[str, Any]:
    """Asset metadata that names the recipe keys an asset depends on; they become part of its code version."""
    return {RECIPE_KEYS: list(keys)}
