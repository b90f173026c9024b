"""What has to be looked after once it has been made: money."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg

from phi_assets.azureml.billing.bill import Bill, Billed, read_bill
from phi_assets.azureml.billing.orphans import KnownThings, orphans
from phi_assets.config.endpoint_names import used_name
from phi_assets.graph.explanation import explained
from phi_assets.graph.lineage import IO_MANAGER, OWNERS, WORKSPACE, Lineage
from phi_assets.graph.operations.metadata import BILLING_NUMBERS, billing_metadata
from phi_assets.graph.presentation import presented
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace

STILL_BILLING = dg.AssetKey([WORKSPACE, "still_billing"])

_DEPLOYMENTS_REMEMBERED = 100
"""Materializations of `online_deployment` that are looked at: by policy, an old deployment may be kept."""


def still_billing_asset(lineages: Sequence[Lineage]) -> dg.AssetsDefinition:
    """`workspace/still_billing`, which knows these recipes and those that are added to them later."""

    @dg.asset(
        key=STILL_BILLING,
        group_name=WORKSPACE,
        kinds={"azureml"},
        owners=list(OWNERS),
        code_version="1",
        io_manager_key=IO_MANAGER,
    )
    def still_billing(
        context: dg.AssetExecutionContext, azureml: AzureMLWorkspace, azureml_prices: PricesResource
    ) -> dg.MaterializeResult:
        """A list of every endpoint, deployment and cluster with nodes in the workspace, whoever made it.

        Each with its age, its price an hour, its owner and the end of its lease; what carries this project's tags and
        is unknown to this graph is an orphan. Looking changes nothing, and nothing is made from it.
        """
        with azureml.session() as ws:
            bill = read_bill(ws, azureml_prices.value, context.log.info)
        context.log.info(bill.in_words)
        orphaned = orphans(bill, known_things(context.instance, lineages, bill))
        for item in orphaned:
            context.log.warning(
                f"Orphan: {item.kind} {item.name} carries this project's tags, and this graph knows none."
            )
        return dg.MaterializeResult(metadata=listed(context, bill, orphaned))

    return still_billing


def listed(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, bill: Bill, orphaned: Sequence[Billed]
) -> dict[str, Any]:
    """Metadata of a listing: what has come and gone since the last one, and the bill."""
    things = {f"{item.kind} {item.name}": item.size or "billing" for item in bill.items}
    why = explained(context, things, bill.in_words, STILL_BILLING)
    return presented(why | billing_metadata(bill, orphaned), *BILLING_NUMBERS)


def known_things(instance: dg.DagsterInstance, lineages: Sequence[Lineage], bill: Bill) -> KnownThings:
    """What the recipes name, and what this Dagster instance has materialized last; of deployments, all of late."""
    endpoints, deployments, clusters = list[str](), list[str](), list[str]()
    for lineage in lineages:
        recipe = lineage.recipe
        names = lineage.endpoint_names
        endpoints += [names[0], used_name(names, partial(bill.is_of_recipe, recipe=recipe.name))]
        endpoints += _recorded(instance, lineage.key("online_endpoint"), "{name}")
        key = lineage.key("online_deployment")
        deployments += _recorded(instance, key, "{endpoint}/{name}", _DEPLOYMENTS_REMEMBERED)
        clusters += [*recipe.clusters, *_recorded(instance, lineage.key("finetune_compute"), "{name}")]
    return KnownThings.of(endpoints, deployments, clusters)


def _recorded(instance: dg.DagsterInstance, asset: dg.AssetKey, form: str, limit: int = 1) -> Iterator[str]:
    for record in instance.fetch_materializations(asset, limit=limit).records:
        materialization = record.asset_materialization
        if materialization is not None:
            yield form.format(**{key: value.value for key, value in materialization.metadata.items()})
