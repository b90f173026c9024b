"""From the front to the process of a deployment, over its Unix domain socket."""

import asyncio
from pathlib import Path

import httpx

from phi_assets.emulator.errors import ServiceError
from phi_assets.emulator.serving.behaviour import HEADER
from phi_assets.emulator.serving.target import Target

IDLE_SECONDS = 30.0
"""How long an unused connection is kept: less than the process keeps it, so that it never closes under a request."""

MODEL_ERROR_STATUS = "ms-azureml-model-error-statuscode"
MODEL_ERROR_REASON = "ms-azureml-model-error-reason"


class Forwarder:
    """Keeps the connections to the processes; for use in one event loop."""

    def __init__(self) -> None:
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def score(self, target: Target, body: bytes) -> bytes:
        """The model's answer.

        Raises:
            ServiceError: 408 if it takes longer than the deployment allows, 424 if the model answers with an error or
                its process dies over the request, 429 if too many requests are pending, 503 while the process is down.
        """
        limit = target.settings.request_timeout
        try:
            async with asyncio.timeout(limit), target.gate.passage(target.deployment):
                response = await self._post(target, body)
        except TimeoutError as error:
            raise ServiceError(
                408,
                "RequestTimeout",
                f"The deployment '{target.deployment}' did not answer within its request timeout of {limit:g} seconds. "
                "Ask for fewer new tokens, or raise request_timeout_ms (at most 180000).",
            ) from error
        if response.status_code != 200:
            raise _model_error(target, response.status_code, _reason(response))
        return response.content

    async def _post(self, target: Target, body: bytes) -> httpx.Response:
        client = await self._client(target)
        headers = {"Content-Type": "application/json"}
        if behaviour := target.ailments.next():
            headers[HEADER] = behaviour.header()
        try:
            return await client.post("http://worker/score", content=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            target.server.suspect()
            raise unavailable(target.deployment) from error
        except httpx.TransportError as error:
            target.server.suspect()
            raise _model_error(target, 502, "The model server ended before it answered") from error

    async def _client(self, target: Target) -> httpx.AsyncClient:
        socket = str(target.server.socket)
        if socket in self._clients:
            return self._clients[socket]
        client = self._clients[socket] = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=socket,
                # The gate decides how many requests are underway, and the request's own timeout how long they take.
                limits=httpx.Limits(max_connections=None, keepalive_expiry=IDLE_SECONDS),
            ),
            timeout=None,  # noqa: S113
        )
        for unused in [other for other in self._clients if other != socket and not Path(other).exists()]:
            await self._clients.pop(unused).aclose()
        return client


def unavailable(deployment: str) -> ServiceError:
    """503: the deployment exists, but its process cannot be reached now."""
    return ServiceError(
        503,
        "ServiceUnavailable",
        f"The deployment '{deployment}' has no running container at the moment; it is being started again. Try later.",
    )


def _model_error(target: Target, status: int, reason: str) -> ServiceError:
    headers = {
        MODEL_ERROR_STATUS: str(status),
        MODEL_ERROR_REASON: reason.encode("ascii", "backslashreplace").decode().replace("\n", " ")[:512],
        "azureml-model-deployment": target.deployment,
    }
    return ServiceError(424, "ModelError", reason, headers=headers)


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text or response.reason_phrase
