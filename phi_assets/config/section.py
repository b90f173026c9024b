"""What every section of a recipe is, and where the package's own recipes lie."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

RECIPES_DIR = Path(__file__).parents[1] / "recipes"


class Section(BaseModel):
    """Part of a recipe, which refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
