"""Scoring requests: checked for the credential, and answered by one of the endpoint's deployments.

Status codes: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.serving.credentials import authenticate
from phi_assets.emulator.serving.dispatch import DEPLOYMENT_HEADER, Front
from phi_assets.emulator.serving.documents import require_endpoint, scoring_uri
from phi_assets.emulator.serving.openapi import document_of
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.bodies import read_body
from phi_assets.emulator.workspace.context import Emulator

_LARGEST = 64 << 20
"""Bytes of a question: far more than any model here reads, and no danger to the memory of the server."""


async def score(request: Request) -> Response:
    """The answer of one of the endpoint's deployments, with the deployment's name in a header."""
    endpoint = _authenticated(request)
    body = await read_body(request, _LARGEST)
    scored = await _front(request).score(endpoint["name"], request.headers.get(DEPLOYMENT_HEADER), body)
    return Response(scored.content, media_type="application/json", headers={DEPLOYMENT_HEADER: scored.deployment})


async def swagger(request: Request) -> Response:
    """The OpenAPI document of the endpoint."""
    endpoint = _authenticated(request)
    return JSONResponse(document_of(endpoint["name"], scoring_uri(request.app.state.emulator, endpoint["name"])))


def _authenticated(request: Request) -> Document:
    emulator: Emulator = request.app.state.emulator
    endpoint = require_endpoint(emulator.store, request.path_params["endpoint"])
    authenticate(emulator, endpoint, request.headers.get("authorization", ""))
    return endpoint


def _front(request: Request) -> Front:
    return request.app.state.front


routes = [
    Route("/endpoints/{endpoint}/score", score, methods=["POST"]),
    Route("/endpoints/{endpoint}/swagger.json", swagger, methods=["GET"]),
]
