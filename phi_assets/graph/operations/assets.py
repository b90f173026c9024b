"""What has to be looked after once it has been made: money."""

from collections.abc import Iterator

import dagster as dg

from phi_assets.azureml.billing.bill import Bill, read_bill
from phi_assets.azureml.billing.orphans import KnownThings, orphans
from phi_assets.config.endpoint_names import endpoint_names, used_name
from phi_assets.config.recipe import Recipe
from phi_assets.graph.common import OWNERS
from phi_assets.graph.operations.metadata import billing_metadata
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.recipe import RecipeResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace

GROUP = "operations"

_DEPLOYMENTS_REMEMBERED = 100
"""Materializations of `online_deployment` that are looked at: by policy, an old deployment may be kept."""


@dg.asset(group_name=GROUP, kinds={"azureml"}, owners=OWNERS, code_version="1")
def still_billing(
    context: dg.AssetExecutionContext, workspace: AzureMLWorkspace, recipe: RecipeResource, prices: PricesResource
) -> dg.MaterializeResult:
    """A list of every endpoint, deployment and cluster with nodes in the workspace, whoever made it.

    Each with its age, its price an hour, its owner and the end of its lease; what carries this project's tags and is
    unknown to this graph is an orphan. Looking changes nothing, and nothing is made from it.
    """
    with workspace.session() as ws:
        bill = read_bill(ws, prices.value, context.log.info)
    context.log.info(bill.in_words)
    orphaned = orphans(bill, known_things(context.instance, recipe.value, workspace.path, bill))
    for item in orphaned:
        context.log.warning(f"Orphan: {item.kind} {item.name} carries this project's tags, and this graph knows none.")
    return dg.MaterializeResult(metadata=billing_metadata(bill, orphaned))


def known_things(instance: dg.DagsterInstance, recipe: Recipe, workspace: str, bill: Bill) -> KnownThings:
    """What the recipe names, and what this Dagster instance has materialized last; of deployments, all of late."""
    names = endpoint_names(recipe.serving, workspace)
    endpoint = used_name(names, lambda old: bill.is_of_recipe(old, recipe.name))
    return KnownThings.of(
        [names[0], endpoint, *_recorded(instance, "online_endpoint", "{name}")],
        _recorded(instance, "online_deployment", "{endpoint}/{name}", _DEPLOYMENTS_REMEMBERED),
        [recipe.compute.name, *_recorded(instance, "finetune_compute", "{name}")],
    )


def _recorded(instance: dg.DagsterInstance, asset: str, form: str, limit: int = 1) -> Iterator[str]:
    for record in instance.fetch_materializations(dg.AssetKey(asset), limit=limit).records:
        materialization = record.asset_materialization
        if materialization is not None:
            yield form.format(**{key: value.value for key, value in materialization.metadata.items()})
