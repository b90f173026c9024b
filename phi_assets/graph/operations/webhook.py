"""Where alerts go: an address of a chat service, each of which has a form of its own."""

import os
from typing import Any, Self
from urllib.parse import urlsplit

import dagster as dg
import httpx
from pydantic import Field
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

WEBHOOK_VARIABLE = "PHI_ALERT_WEBHOOK"

_TEAMS = (".logic.azure.com", ".powerplatform.com", ".webhook.office.com")
"""Hosts of the webhooks of Teams
(https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook)."""


class AlertWebhook(dg.ConfigurableResource):
    """Where alerts go: a webhook of Teams, of Slack, or of what takes `{"text": ...}` as Slack does."""

    url: str = Field(default="", description="Address to POST alerts to; without one they stay in the sensor's log")

    @classmethod
    def from_environment(cls) -> Self:
        """The webhook of `PHI_ALERT_WEBHOOK`; the UI shows the variable's name, never the address."""
        return cls(url=dg.EnvVar(WEBHOOK_VARIABLE)) if os.environ.get(WEBHOOK_VARIABLE) else cls()

    def tell(self, text: str) -> None:
        """The alert has been accepted, where there is an address.

        Raises:
            httpx.HTTPError: the address does not answer or refuses; the message holds no more than its host.
        """
        if self.url:
            self._post(message(self.url, text))

    @retry(
        retry=retry_if_exception_type(httpx.TransportError),
        stop=stop_after_attempt(3),
        wait=wait_exponential_jitter(initial=1, max=5),
        reraise=True,
    )
    def _post(self, body: dict[str, Any]) -> None:
        response = httpx.post(self.url, json=body, timeout=10)
        if response.is_error:
            host = response.request.url.host
            raise httpx.HTTPStatusError(
                f"The webhook at {host} answered {response.status_code}.", request=response.request, response=response
            )


def message(url: str, text: str) -> dict[str, Any]:
    """The body for the service at the address: an adaptive card for Teams, `{"text": ...}` for all others."""
    host = (urlsplit(url).hostname or "").lower()
    if not host.endswith(_TEAMS):
        return {"text": text}
    lines = [{"type": "TextBlock", "text": line, "wrap": True} for line in text.splitlines() if line.strip()]
    card = {"type": "AdaptiveCard", "version": "1.4", "body": lines}
    return {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}],
    }
