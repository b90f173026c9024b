"""The jobs that end what is billing: everything of the recipe, and what nobody has asked for in time."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from phi_assets.azureml.billing.bill import Bill, read_bill
from phi_assets.azureml.billing.orphans import orphans
from phi_assets.azureml.billing.reaper import reap
from phi_assets.azureml.billing.teardown import carry_out, check_gone, plan_teardown
from phi_assets.graph.automation.endings import REAP_EXPIRED, REAPED_TAG, TEARDOWN
from phi_assets.graph.automation.history import active_run
from phi_assets.graph.automation.pools import patient_in_process_executor
from phi_assets.graph.lineage import FIRST, Lineage
from phi_assets.graph.operations.assets import STILL_BILLING, known_things, listed
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.serving.sensors import SERVING

TEAR_DOWN, DELETE_EXPIRED = "tear_down_recipe", "delete_expired_endpoints"


class TeardownConfig(dg.Config):
    """What a teardown takes besides the endpoint."""

    cluster: bool = Field(default=True, description="Also the recipe's cluster, where it is idle and this project's")
    models: bool = Field(default=False, description="Also the registered versions of the recipe's model")
    dry_run: bool = Field(default=False, description="Only list what would be deleted, and what is kept and why")


def teardown_job(lineage: Lineage, lineages: Sequence[Lineage]) -> dg.JobDefinition:
    """The job that ends what a recipe has made; `lineages` are all that this code location knows."""

    @dg.op(name=lineage.node(TEAR_DOWN))
    def tear_down_recipe(
        context: dg.OpExecutionContext,
        config: TeardownConfig,
        azureml: AzureMLWorkspace,
        azureml_prices: PricesResource,
    ) -> None:
        """Everything of the recipe that is billing has been listed and, unless this is a dry run, deleted and looked
        for again.
        """
        log = context.log.info
        price_list = azureml_prices.value_or_none(context.log.warning)
        with azureml.session() as ws:
            plan = plan_teardown(
                ws,
                lineage.recipe,
                read_bill(ws, price_list, log),
                cluster=config.cluster,
                models=config.models,
                log=log,
            )
            for line in plan.lines:
                log(line)
            if not config.dry_run:
                carry_out(ws, plan, log)
            left = read_bill(ws, price_list, log)
            _record(context, left, lineages)
            if not config.dry_run:
                check_gone(plan, left)
        context.add_output_metadata(
            {
                "listing": dg.MetadataValue.md("\n".join(f"- {line}" for line in plan.lines)),
                "to_delete": len(plan.doomed),
                "nothing_is_billing": not left.items,
                "summary": left.in_words,
            }
        )

    @dg.job(
        name=lineage.node(TEARDOWN),
        tags={**lineage.run_tags, **FIRST},
        executor_def=patient_in_process_executor,
        description="List and delete the recipe's endpoint and idle cluster, and prove that nothing of it is billing.",
    )
    def teardown() -> None:
        tear_down_recipe()

    return teardown


class ReapConfig(dg.Config):
    """Which endpoints are looked at."""

    endpoints: list[str] = Field(default=[], description="Only these; all of this project unless given")
    dry_run: bool = Field(default=False, description="Only say which would be deleted, and which stay and why")


def reap_expired_job(lineages: Sequence[Lineage]) -> dg.JobDefinition:
    """The job that ends what nobody has asked for in time, of all recipes."""

    @dg.op(name=DELETE_EXPIRED)
    def delete_expired_endpoints(
        context: dg.OpExecutionContext,
        config: ReapConfig,
        azureml: AzureMLWorkspace,
        azureml_prices: PricesResource,
    ) -> None:
        """No endpoint of this project is alive after its lease."""

        def announce(name: str) -> None:
            # Before the deletion, so that nobody takes it for damage and puts it right.
            context.instance.add_run_tags(context.run.run_id, {REAPED_TAG.format(name): "true"})

        with azureml.session() as ws:
            held = held_endpoints(context.instance, lineages)
            deleted = reap(
                ws, only=config.endpoints, held=held, on_name=announce, dry_run=config.dry_run, log=context.log.info
            )
            left = read_bill(ws, azureml_prices.value_or_none(context.log.warning), context.log.info)
            _record(context, left, lineages)
        context.add_output_metadata({"deleted": ", ".join(deleted) or "none", "summary": left.in_words})

    @dg.job(
        name=REAP_EXPIRED,
        tags=FIRST,
        executor_def=patient_in_process_executor,
        description="Delete every endpoint of this project whose lease has ended.",
    )
    def reap_expired() -> None:
        delete_expired_endpoints()

    return reap_expired


def held_endpoints(instance: dg.DagsterInstance, lineages: Sequence[Lineage]) -> dict[str, str]:
    """The endpoints that a run of this instance is at work on, with the words for that.

    It may be training for longer than a lease, and what it leaves behind is found later.
    """
    held: dict[str, str] = {}
    for lineage in lineages:
        if (busy := active_run(instance, lineage.keys(*SERVING))) is not None:
            words = f"run {busy.run_id} of {busy.job_name} is at work on it"
            held |= dict.fromkeys(lineage.endpoint_names, words)
    return held


def _record(context: dg.OpExecutionContext, bill: Bill, lineages: Sequence[Lineage]) -> None:
    """The listing is the newest of `still_billing`."""
    context.log.info("\n".join([bill.in_words, *bill.left_alone]))
    orphaned = orphans(bill, known_things(context.instance, lineages, bill))
    context.log_event(dg.AssetMaterialization(STILL_BILLING, metadata=listed(context, bill, orphaned)))
