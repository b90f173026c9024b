"""Sensors: what happens outside, noticed. All that may cost money are stopped until somebody switches them on.

There is one of each kind, whatever the number of recipes. Each tick makes a fixed, small number of requests a recipe,
however many jobs the workspace has. A service that cannot be reached fails the tick with its message; the next one
starts from the same cursor.
"""

from collections.abc import Sequence

import dagster as dg

from phi_assets.graph.dataset.sensors import hub_revision_sensor
from phi_assets.graph.foundation.sensors import foundation_model_sensor
from phi_assets.graph.lineage import LABEL, Lineage
from phi_assets.graph.operations.alerts import lease_alert, run_failure_alert, run_success_alert
from phi_assets.graph.operations.sensors import still_billing_sensor
from phi_assets.graph.serving.sensors import endpoint_health_sensor
from phi_assets.graph.training.sensors import orphaned_job_sensor
from phi_assets.graph.training.watching import detached_jobs_sensor

phi_automation = dg.AutomationConditionSensorDefinition(
    "phi_automation",
    target=dg.AssetSelection.tag(LABEL, ""),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=15,
    run_tags={"dagster/priority": "-1"},
    description="Materialize what has new inputs or another code version. Training costs money: see the conditions.",
)


def sensors(lineages: Sequence[Lineage]) -> list[dg.SensorDefinition]:
    """All sensors, for these recipes and those that are added to them later."""
    return [
        phi_automation,
        hub_revision_sensor(lineages),
        foundation_model_sensor(lineages),
        orphaned_job_sensor(lineages),
        detached_jobs_sensor(lineages),
        endpoint_health_sensor(lineages),
        still_billing_sensor(lineages),
        run_failure_alert,
        run_success_alert(lineages),
        lease_alert,
    ]
