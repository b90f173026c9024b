"""Lets faults happen to requests, in front of everything that the emulator does with them."""

import asyncio
from collections.abc import Awaitable, Callable
from http.client import responses

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phi_assets.emulator.chaos.faults import Delay, Drop, Fault, Hold, Status
from phi_assets.emulator.server.middleware import Exchange, service_error
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator

ABORT = "phi_assets.abort"
"""Extension of a request's scope: closes its connection at once."""

_LARGEST_BODY = 64 << 20
_CODES = {429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable"}

Wait = Callable[[], Awaitable[bool]]
"""Returns when the request may go on (True), or is to be dropped (False)."""


class FaultInjection:
    """Passes requests on, except those that meet a fault."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange | None = scope.get("state", {}).get("exchange")
        if exchange is None or exchange.name is None:
            await self._app(scope, receive, send)
            return
        emulator: Emulator = scope["app"].state.emulator
        met = emulator.faults.meet(scope["method"], exchange.name, scope["path"])
        if met is None:
            await self._app(scope, receive, send)
            return
        fault, action = met
        exchange.fault = fault.id
        if action.when == "before":
            await self._before(fault, action, scope, receive, send)
        else:
            await self._after(fault, action, scope, receive, send)

    async def _before(
        self, fault: Fault, action: Status | Drop | Delay | Hold, scope: Scope, receive: Receive, send: Send
    ) -> None:
        match action:
            case Status():
                await _refuse(action, scope, receive, send)
            case Drop():
                await _drop(scope, receive)
            case Delay() | Hold():
                # A client that leaves now has sent its request, and the request will be processed.
                try:
                    kept = await _read_all(receive)
                except ServiceError as error:
                    await service_error(Request(scope), error)(scope, receive, send)
                    return
                if await _wait_of(fault, action)():
                    await self._app(scope, kept, send)
                else:
                    await _drop(scope, receive)

    async def _after(
        self, fault: Fault, action: Status | Drop | Delay | Hold, scope: Scope, receive: Receive, send: Send
    ) -> None:
        match action:
            case Status():
                await self._app(scope, receive, _to_nobody)
                await _refuse(action, scope, receive, send)
            case Drop():
                await self._app(scope, receive, _to_nobody)
                await _drop(scope, receive)
            case Delay() | Hold():
                answer = _LateAnswer(send, _wait_of(fault, action))
                await self._app(scope, receive, answer)
                if not answer.wanted:
                    await _drop(scope, receive)


class _LateAnswer:
    """Sends an answer when its time has come, or not at all."""

    def __init__(self, send: Send, wait: Wait):
        self._send = send
        self._wait = wait
        self.wanted = True

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.wanted = await self._wait()
        if self.wanted:
            await self._send(message)


def _wait_of(fault: Fault, action: Delay | Hold) -> Wait:
    async def delay() -> bool:
        await asyncio.sleep(action.seconds if isinstance(action, Delay) else 0)
        return True

    return fault.hold if isinstance(action, Hold) else delay


async def _read_all(receive: Receive) -> Receive:
    """The request's body in memory, to be received again.

    Raises:
        ServiceError: 413 for one of more than 64 MiB.
    """
    kept: list[Message] = []
    size, complete = 0, False
    while not complete:
        message = await receive()
        kept.append(message)
        size += len(message.get("body", b""))
        if size > _LARGEST_BODY:
            raise ServiceError(413, "RequestBodyTooLarge", "A request that meets a fault must not exceed 64 MiB.")
        complete = message["type"] != "http.request" or not message.get("more_body", False)
    kept.reverse()

    async def again() -> Message:
        return kept.pop() if kept else await receive()

    return again


async def _refuse(action: Status, scope: Scope, receive: Receive, send: Send) -> None:
    # Python has no phrase for codes of proxies, such as 499.
    phrase = responses.get(action.status, "Unknown Error")
    code = action.code or _CODES.get(action.status) or phrase.title().replace(" ", "")
    headers = {} if action.retry_after is None else {"Retry-After": f"{action.retry_after:g}"}
    exchange: Exchange = scope["state"]["exchange"]
    if exchange.name is not None and exchange.name.plane == "blob":
        # The storage client reads the code from this header, and takes an empty body for an answer to HEAD.
        response = Response(status_code=action.status, headers=headers | {"x-ms-error-code": code})
    elif action.error is not None:
        headers |= {"x-ms-response-type": "error"}
        response = JSONResponse({"error": action.error}, status_code=action.status, headers=headers)
    else:
        error = ServiceError(action.status, code, "This request met a fault that was asked for.", headers=headers)
        response = service_error(Request(scope), error)
    await response(scope, receive, send)


async def _drop(scope: Scope, receive: Receive) -> None:
    """The connection is closed; whatever the application sends on it from now on goes nowhere."""
    exchange: Exchange = scope["state"]["exchange"]
    # Before the client can know, so that whoever then looks into the journal finds the entry.
    exchange.record()
    scope["extensions"][ABORT]()
    while (await receive())["type"] != "http.disconnect":
        continue


async def _to_nobody(message: Message) -> None:
    """Swallows an answer that is not sent."""
