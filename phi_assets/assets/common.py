"""What all asset modules share: ownership, what an asset reads from the recipe, and why it did what it did."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from phi_assets.changes import describe_changes

OWNERS = ["team:ml-platform"]

AZUREML_POOL = "azureml"
"""One writer at a time per workspace: endpoint updates are last-writer-wins, concurrent uploads collide."""

RECIPE_KEYS = "recipe_keys"

INPUTS_KEY = "inputs"
"""Metadata that holds what a materialization depended on; the next one is compared with it."""


_TERMINATED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def is_terminated(context: dg.AssetExecutionContext) -> bool:
    """Whether a person has terminated the run; an interrupt without that comes from a worker that is killed.

    Only a termination by a person makes the run CANCELING first, or CANCELED at once where it is forced.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    return run is not None and run.status in _TERMINATED


@contextmanager
def undone_unless_killed(context: dg.AssetExecutionContext, undo: Callable[[bool], object]) -> Iterator[None]:
    """`undo` is called where the block fails, or where a person terminates the run; what ended the block goes on.

    It is told whether a request of the block may still be on the wire. Where the worker is killed, everything stays as
    it is: the run is started again, and goes on from there.
    """

    def try_to_undo(*, interrupted: bool) -> None:
        try:
            undo(interrupted)
        except Exception as error:
            # Nothing may take the place of what ended the block.
            context.log.error(f"Not everything could be undone, and something may be billing: {error}")

    try:
        yield
    except dg.DagsterExecutionInterruptedError:
        if is_terminated(context):
            try_to_undo(interrupted=True)
        raise
    except Exception:
        try_to_undo(interrupted=False)
        raise


def reads(*keys: str) -> dict[str, Any]:
    """Asset metadata that names the recipe keys an asset depends on; they become part of its code version."""
    return {RECIPE_KEYS: list(keys)}


def explained(
    context: dg.AssetExecutionContext, inputs: Mapping[str, Any], reason: str = "", key: dg.AssetKey | None = None
) -> dict[str, Any]:
    """Metadata that says why: `changed` names the inputs that differ from those of the asset's last materialization.

    `reason` is what decided about the action, `inputs` what the next materialization will be compared with, `key` which
    asset is meant where a step has several.
    """
    now = {name: str(value) for name, value in inputs.items()}
    changed = changes_since_last(context, now, key)
    metadata: dict[str, Any] = {"changed": changed, INPUTS_KEY: dg.MetadataValue.json(now)}
    return {"reason": reason, **metadata} if reason else metadata


def changes_since_last(
    context: dg.AssetExecutionContext, inputs: Mapping[str, str], key: dg.AssetKey | None = None
) -> str:
    """What of `inputs` differs from those that the asset's last materialization recorded, in words."""
    event = context.instance.get_latest_materialization_event(key or context.asset_key)
    materialization = event.asset_materialization if event else None
    recorded = materialization.metadata.get(INPUTS_KEY) if materialization else None
    before = recorded.value if isinstance(recorded, dg.JsonMetadataValue) else None
    return describe_changes(before if isinstance(before, Mapping) else None, inputs)
