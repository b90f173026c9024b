"""From the front to the processes of a deployment, over their Unix domain sockets."""

import asyncio
import json
from http import HTTPStatus
from pathlib import Path

import aiohttp

from phi_assets.emulator.serving.front.target import Target
from phi_assets.emulator.serving.inference.behaviour import HEADER
from phi_assets.emulator.wire.errors import ServiceError

IDLE_SECONDS = 30.0
"""How long an unused connection is kept: less than the process keeps it, so that it never closes under a request."""

ENDING_SECONDS = 1.0
"""How long a process that has lost a connection is given to end before others are sent to it again."""

MODEL_ERROR_STATUS = "ms-azureml-model-error-statuscode"
MODEL_ERROR_REASON = "ms-azureml-model-error-reason"


class Forwarder:
    """Keeps the connections to the processes; for use in one event loop."""

    def __init__(self) -> None:
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def score(self, target: Target, body: bytes) -> bytes:
        """The model's answer.

        Raises:
            ServiceError: 408 if it takes longer than the deployment allows, 424 if the model answers with an error or
                its process dies over the request, 429 if too many requests are pending, 503 while the process is down.
        """
        limit = target.settings.request_timeout
        try:
            async with asyncio.timeout(limit), target.gate.passage(target.deployment):
                status, content = await self._post(target, body)
        except TimeoutError as error:
            raise ServiceError(
                408,
                "RequestTimeout",
                f"The deployment '{target.deployment}' did not answer within its request timeout of {limit:g} seconds. "
                "Ask for fewer new tokens, or raise request_timeout_ms (at most 180000).",
            ) from error
        if status != 200:
            raise _model_error(target, status, _reason(status, content))
        return content

    async def _post(self, target: Target, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        if behaviour := target.ailments.next():
            headers[HEADER] = behaviour.header()
        for server in target.workers.by_load():
            session = await self._session(str(server.socket))
            with target.workers.request(server):
                try:
                    async with session.post("http://worker/score", data=body, headers=headers) as response:
                        return response.status, await response.read()
                except aiohttp.ClientConnectorError:
                    server.suspect()  # it has not got the request: another one may have it
                except aiohttp.ClientError as error:
                    # While it ends, its socket and its other connections may still take requests that nobody answers.
                    await asyncio.to_thread(server.has_ended, ENDING_SECONDS)
                    server.suspect()
                    raise _model_error(target, 502, "The model server ended before it answered") from error
        raise unavailable(target.deployment)

    async def _session(self, socket: str) -> aiohttp.ClientSession:
        if socket in self._sessions:
            return self._sessions[socket]
        session = self._sessions[socket] = aiohttp.ClientSession(
            # The gate decides how many requests are underway, and the request's own timeout how long they take.
            connector=aiohttp.UnixConnector(socket, limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # Taken out before the first pause: two requests may come to this at the same time.
        gone = [other for other in self._sessions if other != socket and not Path(other).exists()]
        for unused in [self._sessions.pop(other) for other in gone]:
            await unused.close()
        return session


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


def _reason(status: int, content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace") or HTTPStatus(status).phrase
