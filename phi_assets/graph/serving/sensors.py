"""The sensor that puts the endpoint right when somebody has changed it behind the graph's back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import cast

import dagster as dg

from phi_assets.azureml.connection.inventory import EndpointState, endpoint_state
from phi_assets.azureml.connection.retry import patience
from phi_assets.azureml.ownership import Owner
from phi_assets.graph.automation.cursor import TICK_PATIENCE_SECONDS, Cursor, Outcome, for_each
from phi_assets.graph.automation.endings import DEPLOY, TEARDOWN, last_ending
from phi_assets.graph.automation.history import (
    active_run,
    has_ended,
    last_evaluation,
    last_materialization,
    metadata_value,
)
from phi_assets.graph.lineage import ASSET_TAG, Lineage
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.serving.assets import (
    LIVE_TRAFFIC,
    ONLINE_DEPLOYMENT,
    ONLINE_ENDPOINT,
    ROLLOUT_GATE,
    SMOKE_GATE,
)

SERVING = (ONLINE_ENDPOINT, ONLINE_DEPLOYMENT, LIVE_TRAFFIC)

_GATES = ((ONLINE_DEPLOYMENT, SMOKE_GATE), (LIVE_TRAFFIC, ROLLOUT_GATE))


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


def endpoint_health_sensor(lineages: Sequence[Lineage]) -> dg.SensorDefinition:
    """The sensor for the endpoints of these recipes; one that is added to them later is looked after as well."""

    @dg.sensor(
        name="endpoint_health_sensor",
        target=reduce(or_, (dg.AssetSelection.tag(ASSET_TAG, asset) for asset in SERVING)),
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=120,
        description="Put the endpoint right where it, its deployment or its traffic is not as it was left. What a "
        "teardown or the end of its lease has ended stays down.",
    )
    def endpoint_health(context: dg.SensorEvaluationContext, azureml: AzureMLWorkspace) -> dg.SensorResult:
        """The serving assets are requested where endpoint or deployment are gone or failed, or the traffic is another.

        Only what the graph has made is put right, nothing that somebody else has made in its place, and nothing that a
        teardown has ended: who runs it wants no endpoint, even where the run itself failed. A model that a gate has
        turned down is not deployed again. At most three reads a recipe. What does not stay right is tried again after
        pauses that double, up to half a day.
        """

        def look(lineage: Lineage, cursor: Cursor) -> Outcome:
            return _look(context, azureml, lineage, cursor)

        return for_each(context, {lineage.name: lineage for lineage in lineages}, look)

    return endpoint_health


def _look(context: dg.SensorEvaluationContext, azureml: AzureMLWorkspace, lineage: Lineage, cursor: Cursor) -> Outcome:
    instance = context.instance
    names = lineage.endpoint_names
    last_teardown = last_ending(instance, lineage.node(TEARDOWN), names)
    if (busy := _at_work(instance, lineage, last_teardown)) is not None:
        return cursor.skip(f"Run {busy.run_id} of {busy.job_name} is changing the endpoint.")
    since = (last_teardown.end_time or 0.0) if last_teardown else 0.0
    expected = expectation(instance, lineage, since=since)
    if expected is None:
        torn_down = " since it was torn down" if last_teardown else ""
        return cursor.after_recovery().skip(f"{ONLINE_ENDPOINT} has not been materialized{torn_down}.")
    if expected.endpoint not in names:
        return cursor.skip(f"{ONLINE_ENDPOINT} is {expected.endpoint}, and the recipe asks for {names[0]}.")
    with patience(TICK_PATIENCE_SECONDS), azureml.session() as ws:
        found = endpoint_state(ws, expected.endpoint, context.log.info)
    if (why := _why_it_stays(found, azureml.owner(lineage.recipe.name))) is not None:
        return cursor.skip(why)
    damage = expected.damage(found)
    if damage is None:
        return cursor.after_recovery().skip(f"Endpoint {expected.endpoint} is as it was left.")
    return _repair(instance, lineage, cursor, expected, damage)


def _why_it_stays(found: EndpointState, owner: Owner) -> str | None:
    """Why nothing is put right, whatever is wrong with it."""
    if (theirs := found.not_ours(owner)) is not None:
        return f"{theirs} It is left alone."
    moving = found.in_motion
    return None if moving is None else f"{moving.name} is {moving.state}."


def expectation(instance: dg.DagsterInstance, lineage: Lineage, since: float) -> Expectation | None:
    """What has been made after `since` (seconds since the epoch); None where no endpoint is meant to be."""
    entries = {asset: last_materialization(instance, lineage.key(asset)) for asset in SERVING}
    made = {asset: entry for asset, entry in entries.items() if entry is not None and entry.timestamp > since}
    if ONLINE_ENDPOINT not in made:
        return None
    traffic = made.get(LIVE_TRAFFIC)
    return Expectation(
        assets=list(made),
        endpoint=str(metadata_value(made[ONLINE_ENDPOINT], "name")),
        traffic=cast("Mapping[str, int]", metadata_value(traffic, "traffic")) if traffic else {},
    )


def _repair(
    instance: dg.DagsterInstance, lineage: Lineage, cursor: Cursor, expected: Expectation, damage: str
) -> Outcome:
    turned_down = _turned_down(instance, lineage)
    if turned_down is None:
        assets = lineage.keys(*expected.assets)
        return cursor.request(assets, evidence=expected.endpoint, reason=damage, tags=lineage.run_tags)
    return cursor.skip(
        f"{damage} A run would deploy {turned_down} again, which a gate has turned down. Run the job "
        f"`{lineage.node(DEPLOY)}` to try it all the same."
    )


def _turned_down(instance: dg.DagsterInstance, lineage: Lineage) -> str | None:
    """The model that a run would deploy now, if that is the one which failed at the last gate."""
    gates = [dg.AssetCheckKey(lineage.key(asset), gate) for asset, gate in _GATES]
    evaluations = [found for gate in gates if (found := last_evaluation(instance, gate)) is not None]
    last = max(evaluations, key=lambda found: found.timestamp, default=None)
    model = last_materialization(instance, lineage.key("registered_model"))
    if last is None or last.passed or model is None:
        return None
    rejected = last.metadata["model"].value
    return str(rejected) if rejected == metadata_value(model, "id") else None


def _at_work(
    instance: dg.DagsterInstance, lineage: Lineage, last_teardown: dg.RunRecord | None
) -> dg.DagsterRun | None:
    if last_teardown is not None and not has_ended(last_teardown.dagster_run):
        return last_teardown.dagster_run
    return active_run(instance, lineage.keys(*SERVING))
