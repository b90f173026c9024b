"""The control plane: what a test does to the emulator that no client of Azure Machine Learning could do.

It is off the record: its requests meet no fault and no limit, and are not in the journal.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.chaos import faults
from phi_assets.emulator.chaos.throttling import Limits
from phi_assets.emulator.routes.parts import parts_of
from phi_assets.emulator.routes.reset import reset, restore
from phi_assets.emulator.security.network import NetworkIsolation
from phi_assets.emulator.security.storage_auth import StorageAuth
from phi_assets.emulator.wire.bodies import read_body
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.wire.json_documents import parse
from phi_assets.emulator.workspace.context import Emulator, TokenLife

CONTROL = "/_control"

M = TypeVar("M", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _TimeScale(_Body):
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _TokenLife(_Body):
    seconds: Annotated[int, Field(ge=1)]
    refresh_after: Annotated[int, Field(ge=0)]


class _Storage(_Body):
    auth: StorageAuth


class _Quotas(_Body):
    limits: dict[str, Annotated[int, Field(ge=-1)]]


class _Provider(_Body):
    state: Annotated[str, Field(min_length=1)]


class _Clock(_Body):
    ahead: Annotated[float, Field(ge=-1e8, le=1e8)]


class _Locks(_Body):
    locks: dict[str, Literal["CanNotDelete", "ReadOnly"]]


class _Workspace(_Body):
    kind: Annotated[str, Field(min_length=1)]


class _Release(_Body):
    discard: bool = False


class _Throttling(_Body):
    enabled: bool
    buckets: Limits = Limits()


class _Network(_Body):
    isolation: NetworkIsolation


class _Since(_Body):
    since: int = 0


class _Patience(_Body):
    timeout: Annotated[float, Field(ge=0, le=600)] = 60


async def _reset(request: Request) -> Response:
    await reset(parts_of(request))
    return Response(status_code=204)


async def _restore(request: Request) -> Response:
    restore(_emulator(request))
    return Response(status_code=204)


async def _set_time_scale(request: Request) -> Response:
    _emulator(request).clock.set_scale((await _body(request, _TimeScale)).scale)
    return Response(status_code=204)


async def _set_token_life(request: Request) -> Response:
    body = await _body(request, _TokenLife)
    _emulator(request).token_life = TokenLife(body.seconds, body.refresh_after)
    return Response(status_code=204)


async def _set_storage_auth(request: Request) -> Response:
    _emulator(request).storage_auth = (await _body(request, _Storage)).auth
    return Response(status_code=204)


async def _rotate_storage_key(request: Request) -> Response:
    await run_in_threadpool(_emulator(request).account_key.rotate)
    return Response(status_code=204)


async def _set_network_isolation(request: Request) -> Response:
    _emulator(request).network_isolation = (await _body(request, _Network)).isolation
    return Response(status_code=204)


async def _set_quotas(request: Request) -> Response:
    _emulator(request).quotas.set((await _body(request, _Quotas)).limits)
    return Response(status_code=204)


async def _set_provider_state(request: Request) -> Response:
    _emulator(request).provider_state = (await _body(request, _Provider)).state
    return Response(status_code=204)


async def _set_clock(request: Request) -> Response:
    _emulator(request).clock.ahead_seconds = (await _body(request, _Clock)).ahead
    return Response(status_code=204)


async def _set_locks(request: Request) -> Response:
    _emulator(request).locks = dict((await _body(request, _Locks)).locks)
    return Response(status_code=204)


async def _set_workspace_kind(request: Request) -> Response:
    _emulator(request).workspace_kind = (await _body(request, _Workspace)).kind
    return Response(status_code=204)


async def _journal(request: Request) -> Response:
    journal = _emulator(request).journal
    entries = journal.since(_query(request, _Since).since)
    return JSONResponse({"last": journal.last, "value": [dataclasses.asdict(entry) for entry in entries]})


async def _counts(request: Request) -> Response:
    return JSONResponse(_emulator(request).journal.counts(_query(request, _Since).since))


async def _last(request: Request) -> Response:
    return JSONResponse({"last": _emulator(request).journal.last})


async def _requests(request: Request) -> Response:
    return JSONResponse(parts_of(request).deployments.tally.of(request.path_params["endpoint"]))


async def _underway(request: Request) -> Response:
    return JSONResponse(parts_of(request).deployments.underway(request.path_params["endpoint"]))


async def _add_fault(request: Request) -> Response:
    rule = faults.parse(await _json(request))
    return JSONResponse(_emulator(request).faults.add(rule).state(), status_code=201)


async def _clear_faults(request: Request) -> Response:
    _emulator(request).faults.clear()
    return Response(status_code=204)


async def _fault(request: Request) -> Response:
    return JSONResponse(_find(request).state())


async def _held(request: Request) -> Response:
    """Answers as soon as the fault holds a request; 408 if it does not within `timeout` seconds."""
    fault, patience = _find(request), _query(request, _Patience).timeout
    try:
        await asyncio.wait_for(fault.held.wait(), patience)
    except TimeoutError as error:
        message = f"{fault.id} held no request within {patience:g} s; it matched {fault.matched}."
        raise ServiceError(408, "RequestTimeout", message) from error
    return JSONResponse(fault.state())


async def _release(request: Request) -> Response:
    fault = _find(request)
    fault.release(discard=(await _body(request, _Release)).discard)
    return JSONResponse(fault.state())


async def _set_throttling(request: Request) -> Response:
    body = await _body(request, _Throttling)
    _emulator(request).throttling.switch(body.buckets if body.enabled else None)
    return Response(status_code=204)


def _emulator(request: Request) -> Emulator:
    return request.app.state.emulator


def _find(request: Request) -> faults.Fault:
    return _emulator(request).faults.get(request.path_params["fault"])


async def _json(request: Request) -> Any:
    return parse(await read_body(request))


async def _body(request: Request, kind: type[M]) -> M:
    return _checked(kind, await _json(request))


def _query(request: Request, kind: type[M]) -> M:
    return _checked(kind, dict(request.query_params))


def _checked(kind: type[M], given: Any) -> M:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise user_error(faults.in_words(error), "BadArgument/ArgumentInvalid") from error


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str = "GET") -> Route:
    return Route(CONTROL + path, endpoint, methods=[method])


routes = [
    _route("/reset", _reset, "POST"),
    _route("/restore", _restore, "POST"),
    _route("/timescale", _set_time_scale, "PUT"),
    _route("/tokens", _set_token_life, "PUT"),
    _route("/storage", _set_storage_auth, "PUT"),
    _route("/storage/key", _rotate_storage_key, "POST"),
    _route("/network", _set_network_isolation, "PUT"),
    _route("/quotas", _set_quotas, "PUT"),
    _route("/provider", _set_provider_state, "PUT"),
    _route("/clock", _set_clock, "PUT"),
    _route("/locks", _set_locks, "PUT"),
    _route("/workspace", _set_workspace_kind, "PUT"),
    _route("/journal", _journal),
    _route("/journal/counts", _counts),
    _route("/journal/last", _last),
    _route("/endpoints/{endpoint}/requests", _requests),
    _route("/endpoints/{endpoint}/underway", _underway),
    _route("/faults", _add_fault, "POST"),
    _route("/faults", _clear_faults, "DELETE"),
    _route("/faults/{fault}", _fault),
    _route("/faults/{fault}/held", _held),
    _route("/faults/{fault}/release", _release, "POST"),
    _route("/throttling", _set_throttling, "PUT"),
]
