"""Sensors that follow what the graph starts from: the data set on the hub and the model in the registry."""

from collections.abc import Callable

import dagster as dg

from phi_assets.automation.sensors.cursor import TICK_PATIENCE_SECONDS, Cursor
from phi_assets.automation.sensors.history import active_run, data_version, last_materialization, metadata_value
from phi_assets.azureml.models import get_foundation_model
from phi_assets.azureml.retry import patience
from phi_assets.dataset.source import latest_revision
from phi_assets.resources.recipe import RecipeResource
from phi_assets.resources.ultrachat import UltrachatSource
from phi_assets.resources.workspace import AzureMLWorkspace

ULTRACHAT_HUB, FOUNDATION_MODEL, PREFLIGHT = "ultrachat_hub", "foundation_model", "preflight"


@dg.sensor(
    target=dg.AssetSelection.assets(ULTRACHAT_HUB),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=300,
    description="Materialize ultrachat_hub once for every new revision of the data set. With phi_automation switched "
    "on, whatever depends on it follows.",
)
def hub_revision_sensor(context: dg.SensorEvaluationContext, ultrachat: UltrachatSource) -> dg.SensorResult:
    """`ultrachat_hub` is requested once for every new revision of the data set; one request to the hub a tick."""
    return _follow(context, ULTRACHAT_HUB, now=latest_revision(ultrachat.section), recorded=data_version)


@dg.sensor(
    target=dg.AssetSelection.assets(FOUNDATION_MODEL, PREFLIGHT),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=900,
    description="Materialize foundation_model once for every newer version, and once for every edit that the registry "
    "makes to a version in place; preflight looks at it first.",
)
def foundation_model_sensor(
    context: dg.SensorEvaluationContext, workspace: AzureMLWorkspace, recipe: RecipeResource
) -> dg.SensorResult:
    """`foundation_model` is requested where its id or its content is another one; four reads of the registry a tick."""
    with patience(TICK_PATIENCE_SECONDS), workspace.session() as ws:
        ref = get_foundation_model(ws, recipe.value.model, context.log.info)

    def recorded(entry: dg.EventLogEntry) -> str:
        return _model_state(metadata_value(entry, "id"), metadata_value(entry, "content_hash"))

    now = _model_state(ref.id, ref.content_hash)
    # An edit in place is how a registry retires a model.
    return _follow(context, FOUNDATION_MODEL, now=now, recorded=recorded, first=PREFLIGHT)


def _model_state(model_id: object, content_hash: object) -> str:
    return f"{model_id} with content {str(content_hash)[:12]}"


def _follow(
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
