"""How a sensor follows what an asset is made from: the asset is requested where its source is in another state."""

from collections.abc import Callable

import dagster as dg

from phi_assets.graph.automation.cursor import Cursor
from phi_assets.graph.automation.history import active_run, last_materialization


def follow(
    context: dg.SensorEvaluationContext,
    asset: str,
    *,
    now: str,
    recorded: Callable[[dg.EventLogEntry], str | None],
    first: str | None = None,
) -> dg.SensorResult:
    """Request the asset where its source is in another state `now` than the last materialization recorded.

    `first` is an asset that is made before it, in the same run.

    The last materialization is the memory, so a restart of the daemon between a tick and its run changes nothing. It
    is read after the runs: a run that ends in between is seen as one or the other, never as neither.
    """
    cursor = Cursor.of(context)
    active = active_run(context.instance, [asset])
    materialization = last_materialization(context.instance, asset)
    if materialization is None:
        return cursor.skip(f"{asset} has never been materialized. Once it has been, its source is followed.")
    if active is not None:
        return cursor.skip(f"Run {active.run_id} is about to materialize {asset}.")
    before = recorded(materialization)
    if now == before:
        return cursor.after_recovery().skip(f"{asset} is up to date: {now}.")
    wanted = [asset] if first is None else [first, asset]
    return cursor.request(wanted, evidence=now, reason=f"{asset}: {before} -> {now}.")
