"""The sensor that says which run failed, why, and where to look."""

import os
from typing import Self

import dagster as dg
import httpx
from pydantic import Field
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from phi_assets.graph.automation.failures import reason_of
from phi_assets.graph.training.assets import STUDIO_TAG

WEBHOOK_VARIABLE = "PHI_ALERT_WEBHOOK"


class AlertWebhook(dg.ConfigurableResource):
    """Where alerts go: an address that takes `{"text": ...}`, as the chat services offer it."""

    url: str = Field(default="", description="Address to POST alerts to; without one they stay in the sensor's log")

    @classmethod
    def from_environment(cls) -> Self:
        """The webhook of `PHI_ALERT_WEBHOOK`; the UI shows the variable's name, never the address."""
        return cls(url=dg.EnvVar(WEBHOOK_VARIABLE)) if os.environ.get(WEBHOOK_VARIABLE) else cls()

    @retry(
        retry=retry_if_exception_type(httpx.TransportError),
        stop=stop_after_attempt(3),
        wait=wait_exponential_jitter(initial=1, max=5),
        reraise=True,
    )
    def post(self, text: str) -> None:
        """The alert has been accepted.

        Raises:
            httpx.HTTPError: the address does not answer or refuses; the message holds no more than its host.
        """
        response = httpx.post(self.url, json={"text": text}, timeout=10)
        if response.is_error:
            host = response.request.url.host
            raise httpx.HTTPStatusError(
                f"The webhook at {host} answered {response.status_code}.", request=response.request, response=response
            )


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
    if alert_webhook.url:
        alert_webhook.post(text)


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
