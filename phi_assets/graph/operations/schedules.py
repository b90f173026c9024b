"""The schedule that ends leases; stopped until somebody switches it on."""

from collections.abc import Sequence

import dagster as dg

from phi_assets.azureml.billing.reaper import expired_endpoints
from phi_assets.azureml.connection.retry import patience
from phi_assets.graph.automation.cursor import REASON_TAG, TICK_PATIENCE_SECONDS
from phi_assets.graph.automation.history import active_run, has_ended, last_run
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.operations.ending import DELETE_EXPIRED
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.serving.sensors import SERVING


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

        A recipe's own endpoint is left to a run that is at work on it: it may be training for longer than a lease, and
        what it leaves behind is found by the next tick.
        """
        last = last_run(context.instance, reap_expired.name)
        if last is not None and not has_ended(last.dagster_run):
            return dg.SkipReason(f"Run {last.dagster_run.run_id} is deleting endpoints.")
        with patience(TICK_PATIENCE_SECONDS), azureml.session() as ws:
            expired = expired_endpoints(ws, context.log.info)
        for lineage in lineages:
            own = [name for name in lineage.endpoint_names if name in expired]
            if own and (busy := active_run(context.instance, lineage.keys(*SERVING))) is not None:
                context.log.info(f"Endpoint {', '.join(own)} is left to run {busy.run_id} of {busy.job_name}.")
                expired = [name for name in expired if name not in own]
        if not expired:
            return dg.SkipReason("No lease has ended.")
        return dg.RunRequest(
            run_config={"ops": {DELETE_EXPIRED: {"config": {"endpoints": expired}}}},
            tags={REASON_TAG: f"The lease of {', '.join(expired)} has ended."},
        )

    return reaper
