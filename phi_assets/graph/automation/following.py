"""How a sensor follows what an asset is made from: the asset is requested where its source is in another state."""

from collections.abc import Callable, Mapping, Sequence

import dagster as dg

from phi_assets.graph.automation.cursor import Cursor, Outcome
from phi_assets.graph.automation.history import active_run, last_materialization


def follow(
    instance: dg.DagsterInstance,
    cursor: Cursor,
    asset: dg.AssetKey,
    *,
    now: str,
    recorded: Callable[[dg.EventLogEntry], str | None],
    first: Sequence[dg.AssetKey] = (),
    tags: Mapping[str, str] | None = None,
) -> Outcome:
    """Request the asset where its source is in another state `now` than the last materialization recorded.

    `first` are assets that are made before it, in the same run.

    The last materialization is the memory, so a restart of the daemon between a tick and its run changes nothing. It
    is read after the runs: a run that ends in between is seen as one or the other, never as neither.
    """
    name = asset.path[-1]
    active = active_run(instance, [asset])
    materialization = last_materialization(instance, asset)
    if materialization is None:
        return cursor.skip(f"{name} has never been materialized. Once it has been, its source is followed.")
    if active is not None:
        return cursor.skip(f"Run {active.run_id} is about to materialize {name}.")
    before = recorded(materialization)
    if now == before:
        return cursor.after_recovery().skip(f"{name} is up to date: {now}.")
    return cursor.request([*first, asset], evidence=now, reason=f"{name}: {before} -> {now}.", tags=tags)
