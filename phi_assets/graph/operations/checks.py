"""Is what is billing meant to be?"""

import dagster as dg

from phi_assets.graph.operations.assets import STILL_BILLING


@dg.asset_check(asset=STILL_BILLING)
def nothing_is_orphaned(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """The graph knows everything in the workspace that carries this project's tags."""
    return _none(context, "orphans")


@dg.asset_check(asset=STILL_BILLING)
def no_lease_has_ended(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """No endpoint of this project is alive after its lease; the schedule `endpoint_reaper` sees to that."""
    return _none(context, "leases_ended")


@dg.asset_check(asset=STILL_BILLING)
def everything_has_a_price(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """The price file (`PHI_PRICES`) has every machine that is billing, so the sum is all of it."""
    return _none(context, "unpriced")


def _none(context: dg.AssetCheckExecutionContext, number: str) -> dg.AssetCheckResult:
    """Whether the number that the last listing recorded is 0."""
    event = context.instance.get_latest_materialization_event(STILL_BILLING)
    materialization = event.asset_materialization if event else None
    found = materialization.metadata[number] if materialization else dg.MetadataValue.text("never listed")
    return dg.AssetCheckResult(passed=found.value == 0, severity=dg.AssetCheckSeverity.WARN, metadata={number: found})


operations_checks = [nothing_is_orphaned, no_lease_has_ended, everything_has_a_price]
