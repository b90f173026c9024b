"""The tokenizer of the recipe's model: of the registry that has the model, kept with the project's data."""

from collections.abc import Callable

from phi_assets.azureml.models.registry import model_file
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.contract.tokenizers import ModelTokenizer, kept_tokenizer, model_tokenizer, tokenizer_places
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.graph.resources.workspace import AzureMLWorkspace

Log = Callable[[str], None]


def in_registry(azureml: AzureMLWorkspace, recipe: Recipe, log: Log) -> Callable[[], bytes]:
    """Reads the model's `tokenizer.json`; the workspace is connected to when it is called, and not before."""
    return lambda: model_file(azureml.connect(), recipe.model, "tokenizer.json", log)


def known_tokenizer(recipe: Recipe, storage: DataStorage) -> ModelTokenizer | None:
    """The model's tokenizer, where any machine has kept it, and the recipe names no other; else None."""
    for place in tokenizer_places(recipe, storage.folder):
        if not place.path.is_file():
            storage.recall(place.path)
    return kept_tokenizer(recipe, storage.folder)


def tokenizer_of(recipe: Recipe, storage: DataStorage, azureml: AzureMLWorkspace, log: Log) -> ModelTokenizer | None:
    """The model's tokenizer is kept with the data, where anybody has it; see `model_tokenizer`."""
    if (known := known_tokenizer(recipe, storage)) is not None:
        return known
    found = model_tokenizer(recipe, storage.folder, log, in_registry(azureml, recipe, log))
    if found is not None:
        storage.save(found.path)
    return found
