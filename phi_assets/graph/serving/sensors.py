"""The sensor that puts the endpoint right when somebody has changed it behind the graph's back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import dagster as dg

from phi_assets.azureml.connection.inventory import EndpointState, endpoint_state
from phi_assets.azureml.connection.retry import patience
from phi_assets.config.endpoint_names import endpoint_names
from phi_assets.graph.automation.cursor import TICK_PATIENCE_SECONDS, Cursor
from phi_assets.graph.automation.endings import last_ending
from phi_assets.graph.automation.history import (
    active_run,
    has_ended,
    last_evaluation,
    last_materialization,
    metadata_value,
)
from phi_assets.graph.resources.recipe import RecipeResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.serving.assets import ROLLOUT_GATE, SMOKE_GATE

ONLINE_ENDPOINT, ONLINE_DEPLOYMENT, LIVE_TRAFFIC = "online_endpoint", "online_deployment", "live_traffic"
SERVING = (ONLINE_ENDPOINT, ONLINE_DEPLOYMENT, LIVE_TRAFFIC)

_GATES = (
    dg.AssetCheckKey(dg.AssetKey(ONLINE_DEPLOYMENT), SMOKE_GATE),
    dg.AssetCheckKey(dg.AssetKey(LIVE_TRAFFIC), ROLLOUT_GATE),
)


@dataclass(frozen=True)
class Expectation:
    """What the graph has made and nobody has torn down since."""

    assets: list[str]
    """Those of the three assets that have been materialized, in the order in which they depend on each other."""
    endpoint: str
    traffic: Mapping[str, int] = field(default_factory=dict)
    """A deployment without traffic is nobody's loss: its rollout may have been undone, or has not come to an end."""

    def damage(self, found: EndpointState) -> str | None:
        """What is missing or broken, as one sentence; None where everything is as it was left."""
        if found.endpoint is None:
            return f"Endpoint {self.endpoint} does not exist any more."
        if found.endpoint.is_broken:
            return f"Endpoint {self.endpoint} is {found.endpoint.state}."
        for name in self.traffic:
            deployment = found.deployments.get(name)
            if deployment is None:
                return f"Deployment {name} does not exist any more."
            if deployment.is_broken:
                return f"Deployment {name} is {deployment.state}."
        if self.traffic and dict(found.traffic) != dict(self.traffic):
            return f"Traffic of {self.endpoint} is {dict(found.traffic)} instead of {dict(self.traffic)}."
        return None


@dg.sensor(
    target=dg.AssetSelection.assets(*SERVING),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=120,
    description="Put the endpoint right where it, its deployment or its traffic is not as it was left. What a teardown "
    "or the end of its lease has ended stays down.",
)
def endpoint_health_sensor(
    context: dg.SensorEvaluationContext, workspace: AzureMLWorkspace, recipe: RecipeResource
) -> dg.SensorResult:
    """The serving assets are requested where endpoint or deployment are gone or failed, or the traffic is another one.

    Only what the graph has made is put right, and nothing that the `teardown` job has ended: who runs it wants no
    endpoint, even where the run itself failed. A model that a gate has turned down is not deployed again. At most three
    reads a tick. What does not stay right is tried again after pauses that double, up to half a day.
    """
    cursor = Cursor.of(context)
    names = endpoint_names(recipe.value.serving, workspace.path)
    last_teardown = last_ending(context.instance, names)
    if (busy := _at_work(context.instance, last_teardown)) is not None:
        return cursor.skip(f"Run {busy.run_id} of {busy.job_name} is changing the endpoint.")
    expected = expectation(context.instance, since=(last_teardown.end_time or 0.0) if last_teardown else 0.0)
    if expected is None:
        since = " since it was torn down" if last_teardown else ""
        return cursor.after_recovery().skip(f"{ONLINE_ENDPOINT} has not been materialized{since}.")
    if expected.endpoint not in names:
        return cursor.skip(f"{ONLINE_ENDPOINT} is {expected.endpoint}, and the recipe asks for {names[0]}.")
    with patience(TICK_PATIENCE_SECONDS), workspace.session() as ws:
        found = endpoint_state(ws, expected.endpoint, context.log.info)
    if (moving := found.in_motion) is not None:
        return cursor.skip(f"{moving.name} is {moving.state}.")
    damage = expected.damage(found)
    if damage is None:
        return cursor.after_recovery().skip(f"Endpoint {expected.endpoint} is as it was left.")
    return _repair(context.instance, cursor, expected, damage)


def expectation(instance: dg.DagsterInstance, since: float) -> Expectation | None:
    """What has been made after `since` (seconds since the epoch); None where no endpoint is meant to be."""
    entries = {asset: last_materialization(instance, asset) for asset in SERVING}
    made = {asset: entry for asset, entry in entries.items() if entry is not None and entry.timestamp > since}
    if ONLINE_ENDPOINT not in made:
        return None
    traffic = made.get(LIVE_TRAFFIC)
    return Expectation(
        assets=list(made),
        endpoint=str(metadata_value(made[ONLINE_ENDPOINT], "name")),
        traffic=cast("Mapping[str, int]", metadata_value(traffic, "traffic")) if traffic else {},
    )


def _repair(instance: dg.DagsterInstance, cursor: Cursor, expected: Expectation, damage: str) -> dg.SensorResult:
    turned_down = _turned_down(instance)
    if turned_down is None:
        return cursor.request(expected.assets, evidence=expected.endpoint, reason=damage)
    return cursor.skip(
        f"{damage} A run would deploy {turned_down} again, which a gate has turned down. Run the job "
        "`deploy` to try it all the same."
    )


def _turned_down(instance: dg.DagsterInstance) -> str | None:
    """The model that a run would deploy now, if that is the one which failed at the last gate."""
    evaluations = [found for gate in _GATES if (found := last_evaluation(instance, gate)) is not None]
    last = max(evaluations, key=lambda found: found.timestamp, default=None)
    model = last_materialization(instance, "registered_model")
    if last is None or last.passed or model is None:
        return None
    rejected = last.metadata["model"].value
    return str(rejected) if rejected == metadata_value(model, "id") else None


def _at_work(instance: dg.DagsterInstance, last_teardown: dg.RunRecord | None) -> dg.DagsterRun | None:
    if last_teardown is not None and not has_ended(last_teardown.dagster_run):
        return last_teardown.dagster_run
    return active_run(instance, SERVING)
