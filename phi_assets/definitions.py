"""The code location: every asset, check, job, sensor, schedule, resource and the executor."""

from collections.abc import Mapping

import dagster as dg

from phi_assets.assets import dataset, foundation, operations, preflight, scoring, serving, training
from phi_assets.assets.common import RECIPE_KEYS
from phi_assets.automation.conditions import with_automation
from phi_assets.automation.jobs import jobs
from phi_assets.automation.schedules import schedules
from phi_assets.automation.sensors import sensors
from phi_assets.automation.sensors.alerts import AlertWebhook
from phi_assets.checks import dataset as dataset_checks
from phi_assets.checks import foundation as foundation_checks
from phi_assets.checks import operations as operations_checks
from phi_assets.checks import scoring as scoring_checks
from phi_assets.checks import training as training_checks
from phi_assets.recipe import Recipe
from phi_assets.recipe_file import load_recipe
from phi_assets.resources.prices import PricesResource
from phi_assets.resources.recipe import RecipeResource
from phi_assets.resources.refs_io import RefIOManager
from phi_assets.resources.ultrachat import UltrachatSource
from phi_assets.resources.workspace import AzureMLWorkspace
from phi_assets.settings import Settings, load_settings
from phi_assets.trust import trust_authorities


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
