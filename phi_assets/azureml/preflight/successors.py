"""Which model of the registry can take the place of one that has come to its end."""

import re
from collections.abc import Iterator
from datetime import date
from itertools import islice

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ModelNotFound, WorkspaceUnreachable
from phi_assets.azureml.models.metadata import PURPOSES, RegistryModel
from phi_assets.azureml.models.registry import model_names, read_registry_model
from phi_assets.config.recipe import ModelSection

TASK = "chat-completion"

_MOST_READ = 12
"""Models that are looked at: a registry has hundreds, and each costs two requests."""


def choose_instead(ws: Workspace, section: ModelSection, today: date) -> str:
    """The edit of the recipe that chooses a model of the registry which is alive, as far as one can be found soon."""
    try:
        successor = next(_alive(ws, section, today), None)
    except (AzureError, WorkspaceUnreachable):
        successor = None
    if successor is None:
        return "Choose another model: `model.name`, `model.version`."
    return f"Set `model.name: {successor.name}`, whose version {successor.version} is alive in this registry."


def _alive(ws: Workspace, section: ModelSection, today: date) -> Iterator[RegistryModel]:
    """Models that the registry says can be fine-tuned for chat and are not retired; the same family's come first."""
    family = _family(section.name)
    names = [name for name in model_names(ws, section.registry) if name != section.name]
    for name in islice(
        sorted(names, key=lambda name: (_family(name) != family, -_number(name), len(name))), _MOST_READ
    ):
        try:
            model = read_registry_model(ws, ModelSection(registry=section.registry, name=name))
        except ModelNotFound:
            continue
        dates = model.life_dates
        retired = any(dates.get((purpose, "retirement"), date.max) <= today for purpose in PURPOSES)
        if model.finetune_sizes and TASK in (model.finetuning_tasks or ()) and not retired:
            yield model


def _family(name: str) -> str:
    return re.split(r"[^a-z]", name.lower())[0]


def _number(name: str) -> float:
    """The generation, `3.5` of `Phi-3.5-mini`: a later one is the likelier to be alive."""
    found = re.search(r"\d+(?:\.\d+)?", name)
    return float(found[0]) if found else 0.0
