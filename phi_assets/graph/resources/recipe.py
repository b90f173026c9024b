"""The recipe as a Dagster resource."""

import dagster as dg
from pydantic import Field

from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import load_recipe


class RecipeResource(dg.ConfigurableResource):
    """The recipe that this code location runs."""

    name: str = Field(description="Name of a recipe in the package, or the path of a YAML file")

    @property
    def value(self) -> Recipe:
        """The loaded recipe."""
        return load_recipe(self.name)
