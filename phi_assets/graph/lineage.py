"""Where the assets of a recipe stand in a graph that holds many recipes: their keys, names, group and tags."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import dagster as dg

from phi_assets.config.dataset import DatasetSection
from phi_assets.config.endpoint_names import endpoint_names, workspace_path
from phi_assets.config.recipe import Recipe
from phi_assets.config.settings import Settings
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.graph.resources.places import data_storage

OWNERS = ("team:ml-platform",)

RECIPE_KEYS = "recipe_keys"
"""Metadata of an asset that names the recipe keys that it reads; they are part of its code version."""

RECIPE_TAG, ASSET_TAG = "phi/recipe", "phi/asset"
"""Tags of an asset: whose it is, and what it is called below its recipe's prefix. Runs carry the first one as well."""

LABEL = "phi_assets"
"""Tag of every asset that this package makes, in a code location that may hold others."""

IO_MANAGER = "azureml_refs"

FIRST = {"dagster/priority": "10"}
"""Tags of a run, or of a step of it, that goes before every other one: what ends or lists what is billing, and the look
ahead before data is fetched."""

PREFLIGHT = "preflight"
"""Asset of a recipe that comes before all that costs money, and before its data where that is fetched."""

WORKSPACE = "workspace"
"""Prefix and group of what exists once, however many recipes there are."""


def identifier(name: str) -> str:
    """The name with letters, digits and underscores only, as Dagster wants groups, jobs and nodes to be named."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


@dataclass(frozen=True)
class DataSet:
    """A data set that any number of recipes draw their samples from; its raw splits exist once."""

    section: DatasetSection
    storage: DataStorage
    owners: tuple[str, ...] = OWNERS

    @property
    def prefix(self) -> str:
        """First part of the keys, and the group."""
        return identifier(self.section.name)

    def key(self, asset: str) -> dg.AssetKey:
        """Key of `source` or of `raw_<split>`."""
        return dg.AssetKey([self.prefix, asset])

    @property
    def is_fetched(self) -> bool:
        """Whether the data comes over a network: then preflight comes first."""
        return self.section.source == "hub" or bool(self.section.url)

    def preflights(self, lineages: "Sequence[Lineage]") -> list[dg.AssetKey]:
        """Those of the recipes that draw from it."""
        return [
            each.key(PREFLIGHT) for each in lineages if self.prefix in {dataset.prefix for dataset in each.datasets}
        ]

    def asset(self, name: str, **options: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """`dagster.asset` of the data set; a change of the recipes' `dataset` makes it stale."""
        recipe = Recipe(name=self.prefix, dataset=self.section)
        return dg.asset(
            key=self.key(name),
            group_name=self.prefix,
            owners=list(self.owners),
            code_version=f"1-{recipe.code_version('dataset')}",
            io_manager_key=IO_MANAGER,
            tags={LABEL: "", ASSET_TAG: name},
            metadata={RECIPE_KEYS: ["dataset"]},
            **options,
        )


@dataclass(frozen=True)
class Lineage:
    """A recipe, and where its assets stand."""

    recipe: Recipe
    prefix: tuple[str, ...]
    group: str
    endpoint_names: tuple[str, ...]
    """Name of the recipe's endpoint in the workspace of this code location, then names that it may have from before."""
    storage: DataStorage
    owners: tuple[str, ...] = OWNERS
    tags: tuple[tuple[str, str], ...] = ()
    automated: bool = True
    """Whether `phi_automation`, once it is switched on, materializes the assets."""

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        settings: Settings,
        *,
        prefix: Sequence[str] = (),
        group: str = "",
        owners: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        automated: bool = True,
    ) -> Self:
        """The recipe below `prefix` and in `group`, its name unless given, with `owners`, its own unless given."""
        workspace = workspace_path(settings.subscription_id, settings.resource_group, settings.workspace_name)
        own = identifier(recipe.name)
        return cls(
            recipe=recipe,
            prefix=tuple(prefix) or (own,),
            group=group or own,
            endpoint_names=endpoint_names(recipe.serving, recipe.name, workspace),
            storage=data_storage(settings),
            owners=tuple(owners or recipe.owners),
            tags=tuple((tags or {}).items()),
            automated=automated,
        )

    @cached_property
    def datasets(self) -> tuple[DataSet, ...]:
        """Where the samples of the recipe come from: one data set, or every member of a mixture."""
        return tuple(DataSet(section, self.storage, self.owners) for section in self.recipe.dataset.sources().values())

    @property
    def fetches_data(self) -> bool:
        """Whether some of the data comes over a network: then nothing is prepared before preflight has passed."""
        return any(dataset.is_fetched for dataset in self.datasets)

    @property
    def name(self) -> str:
        """What a person calls it: the prefix, `quickstart` or `team/quickstart`."""
        return "/".join(self.prefix)

    @property
    def endpoint_pool(self) -> str:
        """One writer of an endpoint at a time: its updates are last-writer-wins. Nothing else takes a place in it."""
        return f"endpoint_{identifier(self.endpoint_names[0])}"

    def key(self, asset: str) -> dg.AssetKey:
        """Key of an asset of the recipe: `quickstart/finetune_job`."""
        return dg.AssetKey([*self.prefix, asset])

    def keys(self, *assets: str) -> list[dg.AssetKey]:
        """Their keys."""
        return [self.key(asset) for asset in assets]

    def selection(self, *assets: str) -> dg.AssetSelection:
        """These assets of the recipe."""
        return dg.AssetSelection.assets(*self.keys(*assets))

    def node(self, name: str) -> str:
        """Name of a job or of a node: `quickstart__finetune_job`."""
        return "__".join(identifier(part) for part in (*self.prefix, name))

    def ins(self, *assets: str, **named: str) -> dict[str, dg.AssetIn]:
        """Inputs of a step: assets of the recipe by their own names, and by the names of parameters."""
        inputs = [*zip(assets, assets, strict=True), *named.items()]
        return {name: dg.AssetIn(self.key(asset)) for name, asset in inputs}

    def attributes(self, asset: str, *reads: str, version: str = "1") -> dict[str, Any]:
        """What all assets of the recipe have in common.

        `reads` are the recipe keys that the asset depends on; an edit of one of them makes it stale.
        """
        code_version = f"{version}-{self.recipe.code_version(*reads)}" if reads else version
        return {
            "group_name": self.group,
            "owners": list(self.owners),
            "code_version": code_version,
            "tags": {**dict(self.tags), **self.run_tags, LABEL: "", ASSET_TAG: asset},
            "metadata": {RECIPE_KEYS: list(reads)} if reads else {},
        }

    @property
    def run_tags(self) -> dict[str, str]:
        """Tags of the recipe's runs."""
        return {RECIPE_TAG: ".".join(identifier(part) for part in self.prefix)}

    def asset(
        self,
        name: str,
        *reads: str,
        version: str = "1",
        needs: Mapping[str, dg.AssetIn] | None = None,
        deps: Sequence[str] = (),
        **options: Any,
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """`dagster.asset` below the recipe's prefix.

        `reads` are recipe keys, `needs` inputs with values (see `ins`), `deps` assets of the recipe that come first.
        """
        return dg.asset(
            key=self.key(name),
            ins=dict(needs or {}),
            deps=self.keys(*deps),
            io_manager_key=IO_MANAGER,
            **self.attributes(name, *reads, version=version),
            **options,
        )
