"""The first rows of a recipe's data, as preflight looks at them."""

from dataclasses import replace
from pathlib import Path

import dagster as dg

from phi_assets.dataset.samples.first_look import DataLook, look_at_data
from phi_assets.graph.dataset.assets import SOURCE
from phi_assets.graph.dataset.metadata import FOLDER
from phi_assets.graph.lineage import Lineage


def first_look(context: dg.AssetExecutionContext, lineage: Lineage) -> DataLook:
    """What is known of the recipe's data without fetching it as a whole.

    What another asset hands over is known by the last time that it did. It may be handed over anew in this very run, so
    whatever stands in its way is a warning.
    """
    recipe, dataset, data_dir = lineage.recipe, lineage.dataset, lineage.data_dir
    if dataset.section.asset is None:
        return look_at_data(recipe, dataset.section, data_dir, context.log.info)
    name = f"asset {dataset.section.asset}"
    event = context.instance.get_latest_materialization_event(dataset.key(SOURCE))
    folder = event.asset_materialization.metadata.get(FOLDER) if event and event.asset_materialization else None
    if folder is None:
        return DataLook(name, unknown="nothing is known of it before it has been handed over for the first time")
    landed = dataset.section.model_copy(update={"source": "local", "path": Path(str(folder.value)), "asset": None})
    look = look_at_data(recipe, landed, data_dir, context.log.info)
    problems = tuple(f"as it was handed over the last time, {problem}" for problem in look.problems)
    splits = tuple(replace(each, problem="", unknown=each.unknown or each.problem) for each in look.splits)
    return DataLook(f"{name} ({folder.value})", splits, warnings=(*problems, *look.warnings))
