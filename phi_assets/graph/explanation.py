"""Why an asset did what it did: what its last materialization depended on, and what has changed since."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from phi_assets.azureml.training.jobs import SubmittedJob
from phi_assets.changes import NO_CHANGE, describe_changes

INPUTS_KEY = "inputs"
"""Metadata that holds what a materialization depended on; the next one is compared with it."""


def explained(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    inputs: Mapping[str, Any],
    reason: str = "",
    key: dg.AssetKey | None = None,
) -> dict[str, Any]:
    """Metadata that says why: `changed` names the inputs that differ from those of the asset's last materialization.

    `reason` is what decided about the action, `inputs` what the next materialization will be compared with, `key` which
    asset is meant where a step has several.
    """
    now = {name: str(value) for name, value in inputs.items()}
    changed = changes_since_last(context, now, key)
    metadata: dict[str, Any] = {"changed": changed, INPUTS_KEY: dg.MetadataValue.json(now)}
    return {"reason": reason, **metadata} if reason else metadata


def read(
    context: dg.AssetExecutionContext,
    inputs: Mapping[str, Any],
    action: str,
    reason: str,
    key: dg.AssetKey | None = None,
) -> dict[str, Any]:
    """As `explained`, of an asset that only reads: its action is `unchanged` where none of its inputs has changed."""
    why = explained(context, inputs, reason, key)
    return {"action": "unchanged" if why["changed"] == NO_CHANGE else action, **why}


def submitted_metadata(job: SubmittedJob) -> dict[str, Any]:
    """Name and link of a job, and what was done about it, as soon as it exists."""
    return {"job_name": job.name, "studio": dg.MetadataValue.url(job.studio_url), "action": job.action}


def changes_since_last(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    inputs: Mapping[str, str],
    key: dg.AssetKey | None = None,
) -> str:
    """What of `inputs` differs from those that the asset's last materialization recorded, in words."""
    event = context.instance.get_latest_materialization_event(key or context.asset_key)
    materialization = event.asset_materialization if event else None
    recorded = materialization.metadata.get(INPUTS_KEY) if materialization else None
    before = recorded.value if isinstance(recorded, dg.JsonMetadataValue) else None
    return describe_changes(before if isinstance(before, Mapping) else None, inputs)
