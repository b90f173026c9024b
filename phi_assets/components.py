"""The Dagster component of a fine-tune: a recipe in a `defs.yaml`, or in Python, becomes assets, checks and jobs."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Self, get_args

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator, create_model

from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import EXTENDS, recipe_of
from phi_assets.config.section import Section, member_section
from phi_assets.config.settings import Settings, load_settings
from phi_assets.config.trust import trust_authorities
from phi_assets.graph.automation.instance_settings import tell_missing_settings
from phi_assets.graph.automation.pools import patient_in_process_executor
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.location import Location

_SCAFFOLD = """\
type: {type}

# A recipe: the package's docs/reference/recipe.md explains every key. Whatever is not said here comes from the recipe
# that it extends; this one runs on the local emulator.
attributes:
  extends: quickstart
  description: What {name} is fine-tuned for.
  sample:
    percent: 11
"""

_SCAFFOLD_PYTHON = """\
import dagster as dg

from phi_assets import FineTune
from phi_assets.config.recipe_files import load_recipe


@dg.component_instance
def load(context: dg.ComponentLoadContext) -> FineTune:
    return FineTune(load_recipe("quickstart").model_copy(update={{"name": "{name}"}}))
"""


class FineTuneScaffolder(dg.Scaffolder):
    """`dg scaffold defs phi_assets.FineTune NAME` writes a fine-tune that runs on the local emulator."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """`defs.yaml` is there; with `--format python` a `component.py` that makes the same."""
        python = request.scaffold_format == "python"
        file, content = ("component.py", _SCAFFOLD_PYTHON) if python else ("defs.yaml", _SCAFFOLD)
        text = content.format(type=request.type_name, name=request.target_path.name)
        (request.target_path / file).write_text(text, encoding="utf-8")


@dg.scaffold_with(FineTuneScaffolder)
@dataclass
class FineTune(dg.Component):
    """A chat model is fine-tuned on Azure Machine Learning, registered, deployed, and scored.

    One recipe is one component. Its assets stand below a key prefix of their own, so that any number of them fit into a
    project; the raw splits of a data set are shared by all that describe it. Where it runs is read from the environment
    (`PHI_TARGET` and the like): without any setting, on the local emulator.

    A subclass that overrides `get_lineage` decides about keys, group, owners and tags in Python:

        class TeamFineTune(FineTune):
            def get_lineage(self, settings: Settings) -> Lineage:
                return replace(super().get_lineage(settings), group="llm")
    """

    recipe: Recipe
    key_prefix: Sequence[str] = ()
    """First parts of the asset keys; the recipe's name unless given."""
    group: str = ""
    """Asset group; the recipe's name unless given."""
    owners: Sequence[str] = ()
    """Owners of the assets: e-mail addresses, or `team:name`; the recipe's unless given."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the assets."""
    automation: bool = True
    """Whether the sensor `phi_automation`, once it is switched on, materializes the assets."""

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The attributes: a recipe's keys, `extends`, and where the assets stand."""
        return _attributes_model()

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """The component of a `defs.yaml`; templates such as `{{ env.NAME }}` may stand for any value.

        Paths in it are relative to its folder, whose name is the recipe's unless it says another.

        Raises:
            RecipeError: the recipe cannot be used, for example because of what stood for a template.
        """
        said = attributes.model_dump(exclude_unset=True, by_alias=True) if attributes else {}
        content = _resolved(said, context)
        folder = context.path if context.path.is_dir() else context.path.parent
        own = {key: content.pop(key) for key in _OWN_FIELDS if key in content}
        prefix = own.pop("key_prefix", ())
        return cls(
            recipe=recipe_of(content, folder.name, folder),
            key_prefix=prefix.split("/") if isinstance(prefix, str) else prefix,
            **own,
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, checks and jobs of the recipe; of the project's first component also what all of them share."""
        return self.build_in(_location_of(context.component_tree))

    def build_in(self, location: Location) -> dg.Definitions:
        """The same in a code location that is put together in Python."""
        return location.add(self.get_lineage(location.settings))

    def get_lineage(self, settings: Settings) -> Lineage:
        """Where the assets stand: prefix, group, owners, tags."""
        return Lineage.of(
            self.recipe,
            settings,
            prefix=self.key_prefix,
            group=self.group,
            owners=self.owners,
            tags=self.tags,
            automated=self.automation,
        )


def build_definitions(
    settings: Settings, *recipes: Recipe, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """The graph for these settings and these recipes, without a project; contacts nothing.

    Raises:
        RecipeError: two recipes are in each other's way.
    """
    location = Location(settings)
    return dg.Definitions.merge(
        *(FineTune(recipe).build_in(location) for recipe in recipes),
        dg.Definitions(executor=patient_in_process_executor, loggers=loggers),
    )


def _location_of(project: object) -> Location:
    """The code location of the project that is being loaded, which its components have in common."""
    global _loading  # noqa: PLW0603 - Dagster gives the components of a project no other place to meet
    if _loading is None or _loading[0] is not project:
        settings = load_settings()
        trust_authorities(settings)
        tell_missing_settings()
        _loading = (project, Location(settings))
    return _loading[1]


_loading: tuple[object, Location] | None = None
"""The component tree that was loaded last, which cannot be referred to weakly, and its code location."""

_OWN_FIELDS: dict[str, Any] = {
    "key_prefix": (
        str | list[str],
        Field(default=[], description="First parts of the asset keys, `team/bot`; the recipe's name unless given."),
    ),
    "group": (str, Field(default="", description="Asset group; the recipe's name unless given.")),
    "tags": (dict[str, str], Field(default={}, description="Tags of the assets.")),
    "automation": (
        bool,
        Field(default=True, description="Whether `phi_automation`, once it is on, materializes the assets."),
    ),
}


@cache
def _attributes_model() -> type[BaseModel]:
    name = (str, Field(default="", description="Name of the recipe; that of the folder unless given."))
    extends = (str, Field(default="", description="A shipped recipe, or the path of one, of which this says the rest."))
    own = {"name": name, EXTENDS: extends, **_OWN_FIELDS}
    return _templated(Recipe, {field: (_or_template(kind), info) for field, (kind, info) in own.items()})


def _templated(section: type[Section], fields: Mapping[str, Any]) -> type[BaseModel]:
    """The model of a section, with `fields` in it, in which a template may stand for any value.

    What comes to stand for a template is checked later, by the section itself.
    """
    made = dict(fields)
    for name, info in section.model_fields.items():
        if name in fields:
            continue
        kind: Any = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            kind = _templated(kind, {})
        elif (member := member_section(kind)) is not None:
            kind = dict[get_args(kind)[0], _or_template(_templated(member, {}))]
        elif info.metadata:
            kind = Annotated[kind, *info.metadata]
        # Constraints of the field itself would be asked of a template as well.
        plain = copy(info)
        plain.metadata = []
        made[name] = (_or_template(kind), plain)
    return create_model(section.__name__, __config__=ConfigDict(extra="forbid"), __doc__=section.__doc__, **made)


def _resolved(value: Any, context: dg.ComponentLoadContext) -> Any:
    """The value with what its templates stand for; text without a template stays the text that it is."""
    if isinstance(value, Mapping):
        return {key: _resolved(entry, context) for key, entry in value.items()}
    if isinstance(value, list):
        return [_resolved(entry, context) for entry in value]
    return context.resolution_context.resolve_value(value) if _is_template(value) else value


def _is_template(value: object) -> bool:
    return isinstance(value, str) and "{{" in value


def _or_template(kind: Any) -> Any:
    return Annotated[kind, WrapValidator(_unless_template)]


def _unless_template(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return value if _is_template(value) else check(value)
