"""The sensor that keeps the list of what is billing true."""

from collections.abc import Sequence

import dagster as dg

from phi_assets.config.dataset import SPLITS
from phi_assets.graph.automation.cursor import Cursor, Outcome, for_each
from phi_assets.graph.automation.history import ENDED, active_run, last_materialization, planned_assets
from phi_assets.graph.lineage import FIRST, WORKSPACE, Lineage
from phi_assets.graph.operations.assets import STILL_BILLING

_BILLED = ("finetune_compute", "finetune_job", "online_endpoint", "online_deployment", "live_traffic", "base_answers")
"""Assets that make or end what is billing,"""
_PREPARED = tuple(f"sampled_{split}" for split in SPLITS)
"""and those that do where a cluster prepares data."""
_LOOKED_AT = 20
"""Runs of a tick, the newest first; the first one that counts is enough."""


def still_billing_sensor(lineages: Sequence[Lineage]) -> dg.SensorDefinition:
    """The sensor for the runs of these recipes; one that is added to them later is looked after as well."""

    @dg.sensor(
        name="still_billing_sensor",
        target=dg.AssetSelection.assets(STILL_BILLING),
        # The list would say "nothing" beside a deployment that bills; reading it again costs a few requests.
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="List anew what is billing when a run has ended that made or ended something of it.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """`still_billing` is requested where its last listing began before the end of such a run.

        However a run has ended: one that failed or was cancelled may have left something. Nothing is asked of the
        service, as the instance knows its runs.
        """

        def look(_: None, cursor: Cursor) -> Outcome:
            return _look(context.instance, lineages, cursor)

        return for_each(context, {WORKSPACE: None}, look)

    return sensor


def _look(instance: dg.DagsterInstance, lineages: Sequence[Lineage], cursor: Cursor) -> Outcome:
    if (active := active_run(instance, [STILL_BILLING])) is not None:
        return cursor.skip(f"Run {active.run_id} is listing what is billing.")
    listing = last_materialization(instance, STILL_BILLING)
    began = _beginning(instance, listing.run_id) if listing is not None else 0.0
    billed = {key for lineage in lineages for key in lineage.keys(*_billed(lineage))}
    # A teardown and the reaper make a list of their own, and no asset.
    for record in instance.get_run_records(dg.RunsFilter(statuses=list(ENDED)), limit=_LOOKED_AT):
        run = record.dagster_run
        listed_itself = listing is not None and run.run_id == listing.run_id
        is_newer = (record.end_time or record.update_timestamp.timestamp()) > began
        if (is_newer or listed_itself) and billed & planned_assets(instance, run.run_id):
            return cursor.request(
                [STILL_BILLING],
                evidence=run.run_id,
                reason=f"Run {run.run_id} of {run.job_name} is {run.status.value} since the last list was made.",
                tags=FIRST,
            )
    return cursor.skip("No run has made or ended anything since the last list was made.")


def _billed(lineage: Lineage) -> tuple[str, ...]:
    return (*_BILLED, *_PREPARED) if lineage.recipe.dataset.prepare == "cluster" else _BILLED


def _beginning(instance: dg.DagsterInstance, run_id: str) -> float:
    """When the run began, in seconds since the epoch; 0 where that is not known any more."""
    record = instance.get_run_record_by_id(run_id)
    return (record.start_time if record is not None else None) or 0.0
