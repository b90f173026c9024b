"""The first rows of a recipe's data, as preflight looks at them."""

from dataclasses import replace

import dagster as dg

from phi_assets.config.recipe import Recipe
from phi_assets.dataset.samples.first_look import DataLook, look_at_data, look_at_mixture
from phi_assets.graph.dataset.assets import SOURCE
from phi_assets.graph.dataset.metadata import FOLDER
from phi_assets.graph.dataset.tokenizer import in_registry
from phi_assets.graph.lineage import DataSet, Lineage
from phi_assets.graph.resources.workspace import AzureMLWorkspace


def first_look(context: dg.AssetExecutionContext, lineage: Lineage, azureml: AzureMLWorkspace) -> DataLook:
    """What is known of the recipe's data without fetching it as a whole, and whether it could be kept.

    What another asset hands over is known by the last time that it did. It may be handed over anew in this very run, so
    whatever stands in its way is a warning.
    """
    look = _look(context, lineage, azureml)
    return replace(look, problem="; ".join(filter(None, [look.problem, lineage.storage.problem()])))


def _look(context: dg.AssetExecutionContext, lineage: Lineage, azureml: AzureMLWorkspace) -> DataLook:
    recipe = lineage.recipe
    if not recipe.dataset.mixture:
        return _look_at(context, recipe, lineage.datasets[0], azureml)
    # How many rows there have to be is asked of all sources together.
    alone = recipe.model_copy(
        update={
            "sample": recipe.sample.model_copy(update={"percent": 100}),
            "contract": recipe.contract.model_copy(update={"minimum_rows": 1}),
        }
    )
    looks = {dataset.section.name: _look_at(context, alone, dataset, azureml) for dataset in lineage.datasets}
    return look_at_mixture(recipe, looks)


def _look_at(
    context: dg.AssetExecutionContext, recipe: Recipe, dataset: DataSet, azureml: AzureMLWorkspace
) -> DataLook:
    data_dir, own = dataset.storage.folder, in_registry(azureml, recipe, context.log.info)
    if dataset.section.asset is None:
        return look_at_data(recipe, dataset.section, data_dir, context.log.info, own, dataset.storage)
    name = f"asset {dataset.section.asset}"
    event = context.instance.get_latest_materialization_event(dataset.key(SOURCE))
    folder = event.asset_materialization.metadata.get(FOLDER) if event and event.asset_materialization else None
    if folder is None:
        return DataLook(name, unknown="nothing is known of it before it has been handed over for the first time")
    landed = dataset.section.of_folder(str(folder.value))
    look = look_at_data(recipe, landed, data_dir, context.log.info, own, dataset.storage)
    problems = tuple(f"as it was handed over the last time, {problem}" for problem in look.problems)
    splits = tuple(replace(each, problem="", unknown=each.unknown or each.problem) for each in look.splits)
    return DataLook(f"{name} ({folder.value})", splits, warnings=(*problems, *look.warnings))
