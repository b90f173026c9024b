"""Sensors: what happens outside, noticed. All are stopped until somebody switches them on.

Each tick makes a fixed, small number of requests, however many jobs the workspace has. A service that cannot be reached
fails the tick with its message; the next one starts from the same cursor.
"""

import dagster as dg

from phi_assets.graph.dataset.sensors import hub_revision_sensor
from phi_assets.graph.foundation.sensors import foundation_model_sensor
from phi_assets.graph.operations.alerts import run_failure_alert
from phi_assets.graph.serving.sensors import endpoint_health_sensor
from phi_assets.graph.training.sensors import orphaned_job_sensor

phi_automation = dg.AutomationConditionSensorDefinition(
    "phi_automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=15,
    run_tags={"dagster/priority": "-1"},
    description="Materialize what has new inputs or another code version. Training costs money: see the conditions.",
)

sensors = [
    phi_automation,
    hub_revision_sensor,
    foundation_model_sensor,
    orphaned_job_sensor,
    endpoint_health_sensor,
    run_failure_alert,
]
