"""The code location: every asset, check, job, sensor, schedule, resource and the executor."""

from collections.abc import Mapping

import dagster as dg

from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import Settings, load_settings
from phi_assets.config.trust import trust_authorities
from phi_assets.graph.automation.conditions import with_automation
from phi_assets.graph.common import RECIPE_KEYS
from phi_assets.graph.dataset import assets as dataset
from phi_assets.graph.dataset import checks as dataset_checks
from phi_assets.graph.dataset.source import UltrachatSource
from phi_assets.graph.foundation import assets as foundation
from phi_assets.graph.foundation import checks as foundation_checks
from phi_assets.graph.jobs import jobs
from phi_assets.graph.operations import assets as operations
from phi_assets.graph.operations import checks as operations_checks
from phi_assets.graph.operations.alerts import AlertWebhook
from phi_assets.graph.operations.schedules import schedules
from phi_assets.graph.preflight import assets as preflight
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.recipe import RecipeResource
from phi_assets.graph.resources.refs_io import RefIOManager
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.scoring import assets as scoring
from phi_assets.graph.scoring import checks as scoring_checks
from phi_assets.graph.sensors import sensors
from phi_assets.graph.serving import assets as serving
from phi_assets.graph.training import assets as training
from phi_assets.graph.training import checks as training_checks


def build_definitions(
    settings: Settings, recipe: Recipe, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """The graph for these settings and this recipe; contacts nothing."""

    def with_recipe(spec: dg.AssetSpec) -> dg.AssetSpec:
        keys = spec.metadata.get(RECIPE_KEYS, [])
        return (
            spec.replace_attributes(code_version=f"{spec.code_version}-{recipe.code_version(*keys)}") if keys else spec
        )

    modules = [dataset, preflight, foundation, training, serving, scoring, operations]
    assets = [asset for asset in dg.load_assets_from_modules(modules) if isinstance(asset, dg.AssetsDefinition)]
    return dg.Definitions(
        assets=dg.map_asset_specs(with_automation, dg.map_asset_specs(with_recipe, assets)),
        asset_checks=dg.load_asset_checks_from_modules(
            [dataset_checks, foundation_checks, training_checks, scoring_checks, operations_checks]
        ),
        jobs=jobs,
        sensors=sensors,
        schedules=schedules,
        loggers=loggers,
        resources={
            "workspace": AzureMLWorkspace.from_settings(settings),
            "recipe": RecipeResource(name=settings.recipe),
            "prices": PricesResource.from_settings(settings),
            "ultrachat": UltrachatSource.from_recipe(recipe.dataset, settings.data_dir),
            "io_manager": RefIOManager(base=settings.storage),
            "alerts": AlertWebhook.from_environment(),
        },
        # A step in its own process costs five to eight seconds of imports; nothing here needs the isolation.
        executor=dg.in_process_executor,
    )


_settings = load_settings()
trust_authorities(_settings)
defs = build_definitions(_settings, load_recipe(_settings.recipe))
