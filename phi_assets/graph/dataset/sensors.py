"""The sensor that follows the data set on the hub."""

import dagster as dg

from phi_assets.dataset.sources.raw_splits import latest_revision
from phi_assets.graph.automation.following import follow
from phi_assets.graph.automation.history import data_version
from phi_assets.graph.dataset.source import UltrachatSource

ULTRACHAT_HUB = "ultrachat_hub"


@dg.sensor(
    target=dg.AssetSelection.assets(ULTRACHAT_HUB),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=300,
    description="Materialize ultrachat_hub once for every new revision of the data set. With phi_automation switched "
    "on, whatever depends on it follows.",
)
def hub_revision_sensor(context: dg.SensorEvaluationContext, ultrachat: UltrachatSource) -> dg.SensorResult:
    """`ultrachat_hub` is requested once for every new revision of the data set; one request to the hub a tick."""
    return follow(context, ULTRACHAT_HUB, now=latest_revision(ultrachat.section), recorded=data_version)
