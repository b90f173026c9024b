"""The way to the tokenizer that lies in a registry beside the recipe's model."""

from collections.abc import Callable

from phi_assets.azureml.models.registry import model_file
from phi_assets.config.recipe import Recipe
from phi_assets.graph.resources.workspace import AzureMLWorkspace


def in_registry(azureml: AzureMLWorkspace, recipe: Recipe, log: Callable[[str], None]) -> Callable[[], bytes]:
    """Reads the model's `tokenizer.json`; the workspace is connected to when it is called, and not before."""
    return lambda: model_file(azureml.connect(), recipe.model, "tokenizer.json", log)
