"""The schedule that ends leases; stopped until somebody switches it on."""

from collections.abc import Sequence

import dagster as dg

from phi_assets.azureml.billing.reaper import expired_endpoints
from phi_assets.azureml.connection.retry import patience
from phi_assets.graph.automation.cursor import REASON_TAG, TICK_PATIENCE_SECONDS
from phi_assets.graph.automation.history import has_ended, last_run
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.operations.ending import DELETE_EXPIRED, held_endpoints
from phi_assets.graph.resources.workspace import AzureMLWorkspace


def endpoint_reaper(reap_expired: dg.JobDefinition, lineages: Sequence[Lineage]) -> dg.ScheduleDefinition:
    """The schedule of `reap_expired`; a recipe that is added to them later is looked after as well."""

    @dg.schedule(
        name="endpoint_reaper",
        job=reap_expired,
        cron_schedule="*/5 * * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Delete the endpoints of this project whose lease (tag `expires_at`) has ended. Requests a run "
        "only where there is one; materializing online_endpoint renews a lease.",
    )
    def reaper(context: dg.ScheduleEvaluationContext, azureml: AzureMLWorkspace) -> dg.RunRequest | dg.SkipReason:
        """A run is requested for the endpoints whose lease has ended; one list is read a tick.

        An endpoint is left to a run that is at work on it, and to a job of its recipe that has not ended: what these
        leave behind is found by a later tick.
        """
        last = last_run(context.instance, reap_expired.name)
        if last is not None and not has_ended(last.dagster_run):
            return dg.SkipReason(f"Run {last.dagster_run.run_id} is deleting endpoints.")
        with patience(TICK_PATIENCE_SECONDS), azureml.session() as ws:
            expired = expired_endpoints(ws, context.log.info)
        held = held_endpoints(context.instance, lineages) if expired else {}
        for name in [name for name in expired if name in held]:
            context.log.info(f"The lease of endpoint {name} has ended, and it stays: {held[name]}.")
            expired.remove(name)
        if not expired:
            return dg.SkipReason("No lease has ended.")
        return dg.RunRequest(
            run_config={"ops": {DELETE_EXPIRED: {"config": {"endpoints": expired}}}},
            tags={REASON_TAG: f"The lease of {', '.join(expired)} has ended."},
        )

    return reaper
