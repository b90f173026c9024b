"""Long-running operations: a PUT or DELETE answers at once, a thread does the work, a status document tells."""

import logging
import uuid
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.store.failures import failure_of, is_no_room
from phi_assets.emulator.wire.errors import ServiceError, not_found
from phi_assets.emulator.wire.paths import LOC
from phi_assets.emulator.workspace.context import Emulator

COMPUTE = "compute"
"""The `kind` of operations on computes, which the service tracks apart from all others."""

ENDPOINT = "oe"
DEPLOYMENT = "od"
JOB_CANCELLATION = "jc"
"""The service's short codes for the `kind` of the other operations."""

POLL_HEADERS = {"retry-after-ms": "200"}
"""Overrides the 5 to 30 s that the SDK otherwise sleeps between two polls."""

logger = logging.getLogger(__name__)

_KEPT = timedelta(days=7)
_LOOK_SECONDS = 0.05
_ROOM_SECONDS = 1.0
# Their owners finish, after a restart, what an earlier process began.
_TAKEN_UP = frozenset({ENDPOINT, DEPLOYMENT, JOB_CANCELLATION})
_RUNNING = {True: "InProgress", False: "Updating"}
# Of operations on computes the service tells less than of the others.
_HIDDEN = {True: {"kind", "resource", "id", "name", "startTime", "endTime"}, False: {"kind", "resource"}}


@dataclass(frozen=True)
class Operation:
    """A started operation: `status_url` is where to poll, `resource_url` what it makes, changes or removes."""

    id: str
    kind: str
    status_url: str
    result_url: str
    resource_url: str


def start(emulator: Emulator, kind: str, resource_url: str, work: Callable[[], None]) -> Operation:
    """Runs `work` in a thread of its own and keeps a status document about it.

    `kind` is one of the kinds above, `resource_url` the ARM path of the resource. A ServiceError from `work` makes the
    operation Failed with that error, any other exception Failed with `InternalServerError`; after Interrupted it stays
    as it is.
    """
    operation = _describe(emulator, kind, resource_url)
    body = {
        "id": operation.status_url.removeprefix(emulator.base_url).partition("?")[0],
        "name": operation.id,
        "kind": kind,
        "resource": resource_url,
        "status": _RUNNING[kind == COMPUTE],
        "startTime": emulator.clock.now().isoformat(),
        "percentComplete": 0.0,
    }
    emulator.store.put("operation", operation.id, body)
    emulator.workers.start(f"operation {operation.id}", lambda: _run(emulator, operation.id, work))
    return operation


class Interrupted(Exception):
    """The emulator stops while an operation is underway; the next start decides what becomes of it."""


def pause(emulator: Emulator, seconds: float) -> None:
    """Waits `seconds` (at time scale 1) inside the `work` of an operation, or ends it when the emulator stops.

    In the latter case the operation's document stays as it is, for the recovery of the next start.
    """
    if emulator.clock.wait(seconds, emulator.stopping):
        raise Interrupted


def wait_until(emulator: Emulator, done: Callable[[], bool]) -> None:
    """The `work` of an operation that does nothing: it ends when `done` says so, or when the emulator stops.

    With it a repeated request is answered while the work of the first one is underway. A ServiceError that `done`
    raises becomes the operation's.
    """
    while not done():
        if emulator.stopping.wait(_LOOK_SECONDS):
            raise Interrupted


def repeat_or_start(
    emulator: Emulator,
    kind: str,
    resource_url: str,
    work: Callable[[], None],
    repeats: Callable[[], bool] | None,
) -> Operation:
    """As `start`; where `repeats` is given, the request repeats one that is underway, and the operation waits for that.

    `repeats` says whether the earlier work is done. If that work was lost with an earlier process, it begins anew.
    """
    underway = any(body["resource"].lower() == resource_url.lower() for body in unsettled(emulator))
    if repeats is not None and underway:
        return start(emulator, kind, resource_url, lambda: wait_until(emulator, repeats))
    return start(emulator, kind, resource_url, work)


def accepted(operation: Operation, body: Any, status: int) -> Response:
    """The first answer of a long-running operation, with the headers that tell the client where to poll."""
    headers = {"Azure-AsyncOperation": operation.status_url, "x-ms-async-operation-timeout": "PT30M", **POLL_HEADERS}
    if operation.kind != COMPUTE:
        headers["Location"] = operation.result_url if status == 202 else operation.resource_url
    if body is None:
        return Response(status_code=status, headers=headers)
    return JSONResponse(body, status_code=status, headers=headers)


def recover(emulator: Emulator) -> None:
    """Ends operations whose thread died with an earlier process, and forgets those that ended a week ago.

    Those on endpoints, deployments and jobs go on until their owners `settle` them.
    """
    for body in emulator.store.list("operation"):
        if body["status"] in _RUNNING.values():
            if body["kind"] not in _TAKEN_UP:
                error = ServiceError(409, "OperationCanceled", "The emulator was stopped before the operation ended.")
                _finish(emulator, body["name"], "Failed", error)
        elif body.get("endTime", "") < (emulator.clock.now() - _KEPT).isoformat():
            emulator.store.delete("operation", body["name"])


def settle(
    emulator: Emulator, resource_url: str, error: ServiceError | None = None, *, among: Container[str] | None = None
) -> None:
    """Ends what is still running for the resource: its owner found, on recovery, that it is done, or that it failed.

    With `among` only the operations with these ids.
    """
    for body in unsettled(emulator):
        if body["resource"].lower() == resource_url.lower() and (among is None or body["name"] in among):
            _finish(emulator, body["name"], "Succeeded" if error is None else "Failed", error)


def settle_kind(emulator: Emulator, kind: str) -> None:
    """Ends as Succeeded all running operations of this kind."""
    for body in unsettled(emulator):
        if body["kind"] == kind:
            _finish(emulator, body["name"], "Succeeded", None)


def unsettled(emulator: Emulator) -> list[dict[str, Any]]:
    """Documents of the operations that are running, oldest first."""
    return [body for body in emulator.store.list("operation") if body["status"] in _RUNNING.values()]


def _describe(emulator: Emulator, kind: str, resource_url: str) -> Operation:
    guid = str(uuid.uuid4())
    identifier = guid if kind == COMPUTE else f"{kind}:{emulator.workspace_id}:{guid}"
    base = emulator.base_url + emulator.location_path
    if kind == COMPUTE:
        status = f"{base}/computeOperationsStatus/{identifier}?api-version=2025-12-01&service=new"
    else:
        status = f"{base}/mfeOperationsStatus/{identifier}?api-version=2025-12-01"
    return Operation(
        id=identifier,
        kind=kind,
        status_url=status,
        result_url=f"{base}/mfeOperationResults/{identifier}?api-version=2025-12-01",
        resource_url=emulator.base_url + resource_url,
    )


def _run(emulator: Emulator, identifier: str, work: Callable[[], None]) -> None:
    try:
        error = _outcome(emulator, identifier, work)
        _finish(emulator, identifier, "Succeeded" if error is None else "Failed", error)
    except Interrupted:
        return
    except ServiceError as error:
        logger.warning("operation %s is left to the next start: %s", identifier, error)


def _outcome(emulator: Emulator, identifier: str, work: Callable[[], None]) -> ServiceError | None:
    """Why the work failed. Work for which there is no room is done as soon as there is: it can be repeated."""
    while True:
        try:
            work()
        except Interrupted:
            raise
        except Exception as caught:
            error = caught if isinstance(caught, ServiceError) else failure_of(caught, emulator.directory)
            if error is None:
                logger.exception("operation %s failed", identifier)
                message = f"The emulator failed: {type(caught).__name__}. See server.log in its directory."
                return ServiceError(500, "InternalServerError", message)
            if not is_no_room(error):
                return error
            logger.warning("operation %s waits for room: %s", identifier, error)
            if emulator.stopping.wait(_ROOM_SECONDS):
                raise Interrupted from caught
        else:
            return None


def _finish(emulator: Emulator, identifier: str, status: str, error: ServiceError | None) -> None:
    def change(body: dict[str, Any]) -> dict[str, Any]:
        ended: dict[str, Any] = {
            "status": status,
            "endTime": emulator.clock.now().isoformat(),
            "percentComplete": 100.0,
        }
        if error is not None:
            ended["error"] = error.document(location=emulator.location)["error"]
        return body | ended

    emulator.store.update("operation", identifier, change)


def _find(request: Request) -> dict[str, Any]:
    emulator: Emulator = request.app.state.emulator
    identifier = request.path_params["operation"]
    body = emulator.store.get("operation", identifier)
    if body is None:
        raise not_found("Operation", identifier)
    return body


def _status(request: Request) -> Response:
    body = _find(request)
    shown = {key: value for key, value in body.items() if key not in _HIDDEN[body["kind"] == COMPUTE]}
    if body["kind"] == COMPUTE and body["status"] in _RUNNING.values():
        shown = {"status": body["status"]}
    return JSONResponse(shown, headers=POLL_HEADERS)


def _result(request: Request) -> Response:
    body = _find(request)
    if body["status"] in _RUNNING.values():
        return JSONResponse({}, status_code=202, headers={"Location": str(request.url), **POLL_HEADERS})
    if body["status"] == "Succeeded":
        return Response(status_code=200)
    error = body["error"]
    raise ServiceError(409, error["code"], error["message"])


routes = [
    Route(LOC + "/mfeoperationsstatus/{operation}", _status),
    Route(LOC + "/computeoperationsstatus/{operation}", _status),
    Route(LOC + "/mfeoperationresults/{operation}", _result),
]
