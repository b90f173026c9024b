"""A code location: any number of recipes side by side, what they share, and what there is once."""

from collections.abc import Sequence

import dagster as dg

from phi_assets.config.recipe_files import RecipeError
from phi_assets.config.settings import Settings
from phi_assets.graph.automation.conditions import with_automation
from phi_assets.graph.dataset.assets import dataset_assets, sample_assets
from phi_assets.graph.dataset.checks import sample_checks
from phi_assets.graph.foundation.assets import foundation_assets
from phi_assets.graph.foundation.checks import foundation_checks
from phi_assets.graph.jobs import list_billing, recipe_jobs
from phi_assets.graph.lineage import IO_MANAGER, Lineage
from phi_assets.graph.operations.assets import still_billing_asset
from phi_assets.graph.operations.checks import operations_checks
from phi_assets.graph.operations.ending import reap_expired_job
from phi_assets.graph.operations.schedules import endpoint_reaper
from phi_assets.graph.operations.webhook import AlertWebhook
from phi_assets.graph.preflight.assets import preflight_asset
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.refs_io import RefIOManager
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.scoring.assets import scoring_assets
from phi_assets.graph.scoring.checks import scoring_checks
from phi_assets.graph.sensors import sensors
from phi_assets.graph.serving.assets import serving_assets
from phi_assets.graph.training.assets import training_assets
from phi_assets.graph.training.cancelling import cancel_detached
from phi_assets.graph.training.checks import training_checks


class Location:
    """The recipes of one code location; contacts nothing.

    Whoever comes first brings what all share: resources, sensors, the listing of what is billing. Each data set is
    brought by the first recipe that describes it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lineages: list[Lineage] = []
        self._definitions: dict[tuple[str, ...], dg.Definitions] = {}

    @property
    def lineages(self) -> Sequence[Lineage]:
        """The recipes so far; sensors hold on to it, and see those that come later."""
        return self._lineages

    def add(self, lineage: Lineage) -> dg.Definitions:
        """What the recipe adds to the code location; the same again where it is there already.

        Raises:
            RecipeError: another recipe has its keys, its endpoint, its cluster with other settings, or the name of its
                data set for other data.
        """
        if lineage in self._lineages:
            return self._definitions[lineage.prefix]
        for other in self._lineages:
            _refuse_conflicts(lineage, other)
        is_first = not self._lineages
        known = {dataset.prefix for other in self._lineages for dataset in other.datasets}
        self._lineages.append(lineage)
        parts = [_recipe_definitions(lineage, self._lineages)]
        for dataset in lineage.datasets:
            if dataset.prefix not in known:
                # Whichever recipe comes first, another one may want its data to follow the source.
                parts.append(dg.Definitions(assets=with_automation(dataset_assets(dataset, self._lineages))))
        if is_first:
            parts.append(self._shared())
        self._definitions[lineage.prefix] = dg.Definitions.merge(*parts)
        return self._definitions[lineage.prefix]

    def _shared(self) -> dg.Definitions:
        reap_expired = reap_expired_job(self._lineages)
        return dg.Definitions(
            assets=[still_billing_asset(self._lineages)],
            asset_checks=operations_checks,
            jobs=[cancel_detached, list_billing, reap_expired],
            sensors=sensors(self._lineages),
            schedules=[endpoint_reaper(reap_expired, self._lineages)],
            resources={
                "azureml": AzureMLWorkspace.from_settings(self.settings),
                "azureml_prices": PricesResource.from_settings(self.settings),
                IO_MANAGER: RefIOManager.from_settings(self.settings),
                "alert_webhook": AlertWebhook.from_environment(),
            },
        )


def _recipe_definitions(lineage: Lineage, lineages: Sequence[Lineage]) -> dg.Definitions:
    assets = [
        *sample_assets(lineage),
        preflight_asset(lineage),
        *foundation_assets(lineage),
        *training_assets(lineage),
        *serving_assets(lineage),
        *scoring_assets(lineage),
    ]
    data = [asset for dataset in lineage.datasets for asset in dataset_assets(dataset, lineages)]
    return dg.Definitions(
        assets=with_automation(assets, data) if lineage.automated else assets,
        asset_checks=[
            *sample_checks(lineage),
            *foundation_checks(lineage),
            *training_checks(lineage),
            *scoring_checks(lineage),
        ],
        jobs=recipe_jobs(lineage, lineages),
    )


def _refuse_conflicts(new: Lineage, old: Lineage) -> None:
    mine, yours = new.recipe, old.recipe
    both = f"Recipes {old.name} and {new.name}"
    if new.prefix == old.prefix:
        raise RecipeError(f"Two recipes are called {new.name}: give one of them another name or another key prefix")
    if new.endpoint_names[0] == old.endpoint_names[0]:
        raise RecipeError(
            f"{both} have the same endpoint {new.endpoint_names[0]}: give one of them another `serving.endpoint`"
        )
    for my, your in ((mine.compute, yours.compute), (mine.preparation, yours.preparation)):
        if my.name == your.name and my != your:
            raise RecipeError(
                f"{both} describe cluster {my.name} differently: give one of them another `{my.key}.name`, or both the "
                f"same `{my.key}`"
            )
    if mine.dataset.name == yours.dataset.name and mine.dataset.content != yours.dataset.content:
        raise RecipeError(
            f"{both} call different data {mine.dataset.name}: give one of them another `dataset.name`, or both the "
            "same `dataset`"
        )
    theirs = {dataset.prefix: dataset.section for dataset in old.datasets}
    for dataset in new.datasets:
        if theirs.get(dataset.prefix, dataset.section) != dataset.section:
            raise RecipeError(
                f"{both} call different data {dataset.section.name}: give it another name in one of them, or "
                "both the same source"
            )
