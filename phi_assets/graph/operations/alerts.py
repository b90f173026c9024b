"""The sensors that tell people what matters: failures, new models and champions, leases that are about to end."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import dagster as dg

from phi_assets.azureml.billing.reaper import ending_leases
from phi_assets.azureml.connection.retry import patience
from phi_assets.changes import in_short
from phi_assets.graph.automation.cursor import TICK_PATIENCE_SECONDS
from phi_assets.graph.automation.failures import reason_of
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.operations.webhook import WEBHOOK_VARIABLE, AlertWebhook
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.scoring.assets import SCORING_RESULT
from phi_assets.graph.training.assets import FINETUNE_JOB, STUDIO_TAG

_NOTHING_DONE = ("reused", "unchanged", "skipped", "listed", "looked")
_SOON = timedelta(hours=1)


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description=f"Tell about every failed run: which step, why, and its page in Azure ML Studio. Posts to the webhook "
    f"of {WEBHOOK_VARIABLE}, where it is set.",
)
def run_failure_alert(context: dg.RunFailureSensorContext, alert_webhook: AlertWebhook) -> None:
    """Every failed run is told about once, in this sensor's log and to the webhook.

    Dagster moves the cursor on even where the webhook failed; the tick then shows its error beside the text.
    """
    text = alert_text(context)
    context.log.error(text)
    alert_webhook.tell(text)


def alert_text(context: dg.RunFailureSensorContext) -> str:
    """The failed steps with their messages, the Studio links known of them, and the run."""
    run = context.dagster_run
    lines = [f"Run {run.run_id} of {run.job_name} failed."]
    links = [run.tags[STUDIO_TAG]] if STUDIO_TAG in run.tags else []
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        described = failure.user_failure_data
        lines.append(f"{(event.step_key or '').replace('__', '/')}: {reason_of(failure)}")
        if described is not None and (link := described.metadata.get("studio")) is not None:
            links.append(str(link.value))
    if len(lines) == 1:
        lines.append(context.failure_event.message or "No step says why; the worker may have been killed.")
    # Failures of Azure ML jobs name their page already.
    known = "\n".join(lines)
    return "\n".join([known, *(f"Studio: {link}" for link in dict.fromkeys(links) if link not in known)])


def run_success_alert(lineages: Sequence[Lineage]) -> dg.SensorDefinition:
    """The sensor for the runs of these recipes; one that is added to them later is told of as well."""

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="run_success_alert",
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
        description="Tell about every run that has made something: what, how good the model is, whether it is the new "
        f"champion, and what it has cost of its budget. Posts to the webhook of {WEBHOOK_VARIABLE}, where it is set.",
    )
    def sensor(context: dg.RunStatusSensorContext, alert_webhook: AlertWebhook) -> None:
        """A run that has found everything as it was wanted is not told about."""
        run = context.dagster_run
        lines = list(_made(context.instance, run.run_id, lineages))
        if lines:
            text = "\n".join([f"Run {run.run_id} of {run.job_name} succeeded.", *lines])
            context.log.info(text)
            alert_webhook.tell(text)

    return sensor


def _made(instance: dg.DagsterInstance, run_id: str, lineages: Sequence[Lineage]) -> Iterator[str]:
    """A line for each asset of a recipe that the run has made or changed, and for what is worth knowing of it."""
    recipes = {tuple(lineage.key(FINETUNE_JOB).path[:-1]): lineage for lineage in lineages}
    page = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, limit=1000)
    for record in page.records:
        made = record.asset_materialization
        lineage = recipes.get(tuple(made.asset_key.path[:-1])) if made is not None else None
        if made is None or lineage is None:
            continue
        about = {key: value.value for key, value in made.metadata.items()}
        if about.get("action") in (None, *_NOTHING_DONE):
            continue
        yield f"{made.asset_key.to_user_string()}: {about['action']}. {about.get('reason', '')}".rstrip()
        if made.asset_key.path[-1] == SCORING_RESULT:
            yield from _scores(about)
        if made.asset_key.path[-1] == FINETUNE_JOB:
            yield from _budget(lineage, about)


def _scores(about: Mapping[str, object]) -> Iterator[str]:
    if "chrf" in about:
        yield f"chrF {about['chrf']} ({about['chrf_low']} to {about['chrf_high']})."
    if about.get("is_champion"):
        yield f"New champion: {in_short(str(about['model']))}."


def _budget(lineage: Lineage, about: Mapping[str, object]) -> Iterator[str]:
    budget, cost = lineage.recipe.budget.cost, about.get("estimated_cost")
    if budget is not None and isinstance(cost, float) and cost > budget:
        spent = f"{cost:.2f} {about.get('currency')} by estimate"
        yield f"Over budget: the job has cost {spent}, and `budget.cost` is {budget:g} with the endpoint's lease."


@dg.sensor(
    name="lease_alert",
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=600,
    description="Tell about every endpoint of this project whose lease ends within an hour, once. Posts to the webhook "
    f"of {WEBHOOK_VARIABLE}, where it is set.",
)
def lease_alert(
    context: dg.SensorEvaluationContext, azureml: AzureMLWorkspace, alert_webhook: AlertWebhook
) -> dg.SensorResult:
    """One list is read a tick; the cursor holds what has been told, with the end of the lease that it was told of."""
    told = json.loads(context.cursor) if context.cursor else {}
    with patience(TICK_PATIENCE_SECONDS), azureml.session() as ws:
        ending = {name: end.isoformat() for name, end in ending_leases(ws, _SOON, context.log.info).items()}
    news = {name: end for name, end in ending.items() if told.get(name) != end}
    for name, end in news.items():
        text = f"The lease of endpoint {name} ends at {end}. To keep it, materialize online_endpoint."
        context.log.warning(text)
        alert_webhook.tell(text)
    return dg.SensorResult(
        skip_reason=f"Told of {', '.join(news)}." if news else "No other lease ends within an hour.",
        cursor=json.dumps(ending),
    )
