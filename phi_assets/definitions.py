"""The code location of this repository: settings and recipes become one Definitions."""

from collections.abc import Mapping

import dagster as dg

from phi_assets.components import FineTune
from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import load_recipes
from phi_assets.config.settings import Settings, load_settings
from phi_assets.config.trust import trust_authorities
from phi_assets.graph.automation.instance_settings import tell_missing_settings
from phi_assets.graph.automation.pools import patient_in_process_executor
from phi_assets.graph.load_errors import in_one_message
from phi_assets.graph.location import Location


def build_definitions(
    settings: Settings, *recipes: Recipe, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """The graph for these settings and these recipes; contacts nothing.

    Raises:
        RecipeError: two recipes are in each other's way.
    """
    location = Location(settings)
    return dg.Definitions.merge(
        *(FineTune(recipe).build_in(location) for recipe in recipes),
        dg.Definitions(executor=patient_in_process_executor, loggers=loggers),
    )


with in_one_message():
    _settings = load_settings()
    trust_authorities(_settings)
    tell_missing_settings()
    defs = build_definitions(_settings, *load_recipes(_settings.recipe))
