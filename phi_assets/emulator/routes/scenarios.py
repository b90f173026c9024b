"""Scenarios on the control plane: added, listed and cleared."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.chaos.parsing import parse
from phi_assets.emulator.routes.parts import parts_of
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import not_found
from phi_assets.emulator.workspace.context import Emulator

_SCENARIOS = "/_control/scenarios"


def _list(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    return JSONResponse({"value": emulator.scenarios.documents()})


def _add(request: Request, body: Any) -> Response:
    """Also concerns deployments that are live already."""
    emulator: Emulator = request.app.state.emulator
    armed = emulator.scenarios.add(parse(body))
    parts_of(request).deployments.disturb()
    return JSONResponse(armed.document(), status_code=201)


def _clear(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    emulator.scenarios.clear()
    return Response(status_code=204)


def _clear_one(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    identifier = request.path_params["scenario"]
    if not emulator.scenarios.clear(identifier):
        raise not_found("Scenario", identifier)
    return Response(status_code=204)


routes = [
    Route(_SCENARIOS, _list),
    Route(_SCENARIOS, with_json(_add), methods=["POST"]),
    Route(_SCENARIOS, _clear, methods=["DELETE"]),
    Route(_SCENARIOS + "/{scenario}", _clear_one, methods=["DELETE"]),
]
