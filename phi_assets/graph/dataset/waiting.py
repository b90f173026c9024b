"""What is far away is not fetched for a run whose preflight has failed."""

import time
from collections.abc import Iterable, Set

import dagster as dg

_PLANNED, _SUCCESS, _FAILURE = (
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
)

_SECONDS_BETWEEN_LOOKS = 1.0


def refused_by(context: dg.AssetExecutionContext, preflights: Iterable[dg.AssetKey]) -> list[str]:
    """The preflights among `preflights` that have failed in this run, if none of them has passed in it.

    Data is shared by recipes, so one that is refused does not take it from another one that runs beside it: that is why
    this is no dependency. Where steps run side by side, preflights of the run that are still looking are waited for; in
    one process they have come first already. A run without a preflight is refused by none.
    """
    wanted = frozenset(preflights)
    while True:
        looking, passed, failed = _preflights_of_the_run(context, wanted)
        if passed or not looking:
            return [] if passed else sorted(failed)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _preflights_of_the_run(
    context: dg.AssetExecutionContext, wanted: Set[dg.AssetKey]
) -> tuple[set[str], set[str], set[str]]:
    """Those that have not ended, those that have passed and those that have failed, each by its asset's name."""
    names: dict[str | None, str] = {}
    ended: dict[dg.DagsterEventType, set[str]] = {_SUCCESS: set(), _FAILURE: set()}
    for entry in context.instance.all_logs(context.run.run_id, of_type={_PLANNED, _SUCCESS, _FAILURE}):
        event = entry.get_dagster_event()
        if event.event_type == _PLANNED:
            key = event.asset_materialization_planned_data.asset_key
            if key in wanted:
                names[event.step_key] = key.to_user_string()
        elif event.step_key in names:
            ended[event.event_type].add(names[event.step_key])
    passed, failed = ended[_SUCCESS], ended[_FAILURE]
    return {*names.values()} - passed - failed, passed, failed
