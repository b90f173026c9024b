"""The sensor that follows the foundation model in its registry."""

import dagster as dg

from phi_assets.azureml.connection.retry import patience
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.graph.automation.cursor import TICK_PATIENCE_SECONDS
from phi_assets.graph.automation.following import follow
from phi_assets.graph.automation.history import metadata_value
from phi_assets.graph.resources.recipe import RecipeResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace

FOUNDATION_MODEL, PREFLIGHT = "foundation_model", "preflight"


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
    return follow(context, FOUNDATION_MODEL, now=now, recorded=recorded, first=PREFLIGHT)


def _model_state(model_id: object, content_hash: object) -> str:
    return f"{model_id} with content {str(content_hash)[:12]}"
