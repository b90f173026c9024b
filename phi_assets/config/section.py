"""What every section of a recipe is, and where the package's own recipes lie."""

from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

RECIPES_DIR = Path(__file__).parents[1] / "recipes"


def later(default: Any) -> Any:
    """A key that recipes have not always had: where it has its default, no identity of what was made before changes."""
    return Field(default, exclude_if=lambda value: value == default)


class Section(BaseModel):
    """Part of a recipe, which refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def member_section(kind: Any) -> type[Section] | None:
    """The section that each value of such a mapping is; None where the type is none."""
    value = get_args(kind)[1] if get_origin(kind) is dict else None
    return value if isinstance(value, type) and issubclass(value, Section) else None
