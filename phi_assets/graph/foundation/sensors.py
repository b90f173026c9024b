"""The sensor that follows the foundation models in their registries."""

from collections.abc import Sequence

import dagster as dg

from phi_assets.azureml.connection.retry import patience
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.graph.automation.cursor import TICK_PATIENCE_SECONDS, Cursor, Outcome, for_each
from phi_assets.graph.automation.following import follow
from phi_assets.graph.automation.history import metadata_value
from phi_assets.graph.lineage import ASSET_TAG, Lineage
from phi_assets.graph.preflight.assets import PREFLIGHT
from phi_assets.graph.resources.workspace import AzureMLWorkspace

FOUNDATION_MODEL = "foundation_model"


def foundation_model_sensor(lineages: Sequence[Lineage]) -> dg.SensorDefinition:
    """The sensor for the models of these recipes; one that is added to them later is looked after as well."""

    @dg.sensor(
        name="foundation_model_sensor",
        target=dg.AssetSelection.tag(ASSET_TAG, FOUNDATION_MODEL) | dg.AssetSelection.tag(ASSET_TAG, PREFLIGHT),
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=900,
        description="Materialize foundation_model once for every newer version, and once for every edit that the "
        "registry makes to a version in place; preflight looks at it first.",
    )
    def foundation_models(context: dg.SensorEvaluationContext, azureml: AzureMLWorkspace) -> dg.SensorResult:
        """`foundation_model` is requested where its id or its content is another one; four reads a recipe."""

        def look(lineage: Lineage, cursor: Cursor) -> Outcome:
            with patience(TICK_PATIENCE_SECONDS), azureml.session() as ws:
                ref = get_foundation_model(ws, lineage.recipe.model, context.log.info)
            return follow(
                context.instance,
                cursor,
                lineage.key(FOUNDATION_MODEL),
                now=_model_state(ref.id, ref.content_hash),
                recorded=_recorded,
                # An edit in place is how a registry retires a model.
                first=[lineage.key(PREFLIGHT)],
                tags=lineage.run_tags,
            )

        return for_each(context, {lineage.name: lineage for lineage in lineages}, look)

    return foundation_models


def _recorded(entry: dg.EventLogEntry) -> str:
    return _model_state(metadata_value(entry, "id"), metadata_value(entry, "content_hash"))


def _model_state(model_id: object, content_hash: object) -> str:
    return f"{model_id} with content {str(content_hash)[:12]}"
