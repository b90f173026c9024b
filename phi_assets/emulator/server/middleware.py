"""What happens around every request: identity, refusal of odd paths, error documents, the access log."""

import copy
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable
from email.utils import format_datetime
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phi_assets.emulator.server.answer_headers import complete
from phi_assets.emulator.store.failures import failure_of
from phi_assets.emulator.store.journal import Journal
from phi_assets.emulator.wire.errors import ServiceError, not_found
from phi_assets.emulator.wire.planes import RouteName, RouteNames, service_of
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.locks import check_locks

logger = logging.getLogger(__name__)
access_log = logging.getLogger("phi_assets.emulator.access")


class Exchange:
    """One request on its way, and what is noted about it when it is answered."""

    def __init__(self, scope: Scope, name: RouteName | None):
        self._began = time.perf_counter()
        self._method, self._path = scope["method"], _printable(scope["path"])
        self._journal: Journal = scope["app"].state.emulator.journal
        self._recorded = False
        self.name = name
        """None for what is kept off the record."""
        self.status = 0
        self.fault: str | None = None

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self._began

    def record(self) -> None:
        """There is one line in the access log and one entry in the journal, however often this is called."""
        if self._recorded:
            return
        self._recorded = True
        milliseconds = self.seconds * 1000
        access_log.info("%s %s %d %.0fms", self._method, self._path, self.status, milliseconds)
        if self.name is not None:
            self._journal.add(
                method=self._method,
                route=self.name.route,
                path=self._path,
                status=self.status,
                plane=self.name.plane,
                fault=self.fault,
                milliseconds=round(milliseconds, 3),
            )


class RequestFrame:
    """Gives every request an id, refuses paths that climb, and writes down every request.

    A line of the access log has the path without its query: signatures and tokens travel there and must not be
    written down.
    """

    def __init__(self, app: ASGIApp, names: RouteNames):
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, self._names.of(scope))
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {}).update(request_id=request_id, exchange=exchange)
        asked = Headers(scope=scope)
        client_id = asked.get("x-ms-client-request-id")
        emulator: Emulator = scope["app"].state.emulator

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-ms-request-id"] = request_id
                headers["Date"] = format_datetime(emulator.clock.now(), usegmt=True)
                if client_id:
                    headers["x-ms-client-request-id"] = client_id
                if exchange.name is not None:
                    complete(headers, exchange.name.plane, asked, exchange.seconds, emulator.location)
            elif not message.get("more_body", False):
                # Before the client has the whole answer, so that whoever then looks finds it.
                exchange.record()
            await send(message)

        app = _refuse_path if _climbs(scope["path"]) else self._app
        try:
            await app(scope, receive, answer)
        except Exception:
            # A defect of ours, which is answered further out, unless an answer had begun.
            exchange.status = exchange.status or 500
            raise
        finally:
            exchange.record()


def protect(routes: Iterable[Route]) -> list[Route]:
    """The same routes, open only to bearers of a management token who name this workspace and region."""
    return _guarded(routes, _require_management)


def protect_registries(routes: Iterable[Route]) -> list[Route]:
    """The same routes, open only to bearers of a token that is good for registries."""
    return _guarded(routes, _require_registry)


def protect_control(routes: Iterable[Route]) -> list[Route]:
    """The same routes, open only to bearers of the control token."""
    return _guarded(routes, lambda emulator, request: emulator.auth.require_control(request))


class _Guarded:
    def __init__(self, app: ASGIApp, check: Callable[[Emulator, Request], object]):
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        self._check(request.app.state.emulator, request)
        await self._app(scope, receive, send)


def _guarded(routes: Iterable[Route], check: Callable[[Emulator, Request], object]) -> list[Route]:
    guarded = [copy.copy(route) for route in routes]
    for route in guarded:
        route.app = _Guarded(route.app, check)
    return guarded


def _require_management(emulator: Emulator, request: Request) -> None:
    emulator.auth.require_bearer(request)
    _check_coordinates(emulator, request.path_params)
    check_locks(emulator, request.method, request.url.path)


def _require_registry(emulator: Emulator, request: Request) -> None:
    emulator.auth.require_bearer(request, emulator.auth.registry_audiences)
    _check_coordinates(emulator, request.path_params)


def service_error(request: Request, error: Exception) -> Response:
    """The service's error document for a ServiceError."""
    assert isinstance(error, ServiceError)
    emulator: Emulator = request.app.state.emulator
    body = error.document(location=emulator.location, request_id=request.scope["state"].get("request_id"))
    return JSONResponse(body, status_code=error.status, headers={"x-ms-response-type": "error", **error.headers})


def http_error(request: Request, error: Exception) -> Response:
    """The service's error document for what the router itself refuses."""
    assert isinstance(error, HTTPException)
    exchange: Exchange = request.scope["state"]["exchange"]
    route = exchange.name.route if exchange.name is not None else ""
    path, status = _printable(request.url.path), error.status_code
    service = service_of(path)
    # What a client asks to do to one resource, the service can do; to a whole collection it cannot either.
    if service is not None and (status == 404 or (status == 405 and (route == "/" or route.endswith("}")))):
        status, code = 501, "NotImplemented"
        message = (
            f"This emulator has no {request.method} {service}. phi_assets/docs/reference/emulator.md says what it has."
        )
    elif status == 405:
        code, message = "MethodNotAllowed", f"{request.method} is not allowed for {path}."
    elif status == 404:
        code, message = "ResourceNotFound", f"No resource of the emulator has the path {path}."
    else:
        code, message = "BadRequest", error.detail
    headers = {} if status == 501 else dict(error.headers or {})
    return service_error(request, ServiceError(status, code, message, headers=headers))


def internal_error(request: Request, error: Exception) -> Response:
    """500 for a defect of the emulator; the traceback goes to its log."""
    message = f"The emulator failed: {type(error).__name__}. See server.log in its directory."
    return service_error(request, ServiceError(500, "InternalServerError", message))


def refused_by_machine(request: Request, error: Exception) -> Response:
    """What the operating system refuses, in words; 500 for anything else."""
    emulator: Emulator = request.app.state.emulator
    failure = failure_of(error, emulator.directory)
    if failure is None:
        raise error
    logger.warning("%s %s: %s", request.method, _printable(request.url.path), failure)
    return service_error(request, failure)


def client_left(request: Request, error: Exception) -> Response:
    """Nobody reads this answer; it keeps a client's hang-up out of the log of defects."""
    return service_error(
        request, ServiceError(400, "IncompleteBody", "The request ended before its body was complete.")
    )


EXCEPTION_HANDLERS = {
    ServiceError: service_error,
    HTTPException: http_error,
    ClientDisconnect: client_left,
    OSError: refused_by_machine,
    sqlite3.Error: refused_by_machine,
    MemoryError: refused_by_machine,
    RuntimeError: refused_by_machine,
    Exception: internal_error,
}


_NOWHERE = {"subscription": "SubscriptionNotFound", "group": "ResourceGroupNotFound"}
"""The codes of Azure Resource Manager where there is not even a place to look in."""


def _check_coordinates(emulator: Emulator, parameters: dict[str, str]) -> None:
    expected = {
        "subscription": ("Subscription", emulator.subscription_id),
        "group": ("Resource group", emulator.resource_group),
        "workspace": ("Workspace", emulator.workspace_name),
        "location": ("Location", emulator.location),
    }
    for name, (title, value) in expected.items():
        if name in parameters and parameters[name].lower() != value.lower():
            raise not_found(title, parameters[name], code=_NOWHERE.get(name, "ResourceNotFound"))


def _climbs(path: str) -> bool:
    segments = path.replace("\\", "/").split("/")
    return "\\" in path or not {".", ".."}.isdisjoint(segments) or any(ord(character) < 0x20 for character in path)


async def _refuse_path(scope: Scope, receive: Receive, send: Send) -> None:
    error = ServiceError(400, "InvalidUri", "The path of the request must not have '.', '..' or control characters.")
    response = JSONResponse(error.document(), 400, {"x-ms-error-code": "InvalidUri", "x-ms-response-type": "error"})
    await response(scope, receive, send)


def _printable(text: str) -> str:
    return quote(text, safe="/:@!$&'()*+,;=~")
