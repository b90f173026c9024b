"""What a fine-tune took, and what all those of its recipe took together."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from phi_assets.azureml.billing.prices import PriceList
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import one_line
from phi_assets.azureml.training.finetune import FinetuneResult
from phi_assets.azureml.training.history import UNREADABLE
from phi_assets.azureml.training.usage import job_usage
from phi_assets.config.recipe import Recipe
from phi_assets.refs import ComputeRef

_REMEMBERED = 1000
"""Materializations that are looked at: nobody fine-tunes one recipe more often."""

_GPU_HOURS, _COST = "gpu_hours", "estimated_cost"


def spending(
    context: dg.AssetExecutionContext,
    ws: Workspace,
    recipe: Recipe,
    result: FinetuneResult,
    compute: ComputeRef,
    prices: PriceList | None,
) -> dict[str, Any]:
    """Metadata of a completed job: `gpu_hours` and `estimated_cost`, and both summed over the recipe's jobs.

    A job counts once, however often it is reused. A VM size without a price has no cost. Jobs that failed are not in
    the sums, since they are never materialized.
    """
    known = _jobs_of(context, recipe.name)
    name = result.job.name
    if name not in known:
        try:
            nodes = int(result.parameters.values.get("num_nodes_finetune", 1))
            usage = job_usage(ws, name, gpus=compute.gpus, training_nodes=nodes, log=context.log.info)
        except UNREADABLE as error:
            # A proven job is worth more than its price.
            context.log.warning(f"What job {name} took cannot be read ({one_line(error)}).")
            return {}
        price = prices.hourly_price(compute.size, compute.tier) if prices else None
        known[name] = {_GPU_HOURS: usage.gpu_hours}
        if price is not None:
            known[name][_COST] = usage.node_hours * price
    spent = known[name]
    sums = {f"recipe_{key}": sum(job.get(key, 0.0) for job in known.values()) for key in spent}
    currency = {"currency": prices.currency} if prices and _COST in spent else {}
    return {"recipe": recipe.name, **spent, **sums, "recipe_jobs": len(known), **currency}


def _jobs_of(context: dg.AssetExecutionContext, recipe: str) -> dict[str, dict[str, float]]:
    """What the recipe's jobs took that have been materialized before, by their names."""
    jobs: dict[str, dict[str, float]] = {}
    for record in context.instance.fetch_materializations(context.asset_key, limit=_REMEMBERED).records:
        metadata: Mapping[str, Any] = record.asset_materialization.metadata if record.asset_materialization else {}
        if _GPU_HOURS in metadata and metadata["recipe"].value == recipe:
            took = {key: float(metadata[key].value) for key in (_GPU_HOURS, _COST) if key in metadata}
            jobs.setdefault(str(metadata["job_name"].value), took)
    return jobs
