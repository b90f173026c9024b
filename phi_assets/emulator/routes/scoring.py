"""The front of all online endpoints: checks the credential, chooses the deployment, passes the request on.

Status codes: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.context import Emulator
from phi_assets.emulator.errors import ServiceError
from phi_assets.emulator.serving.credentials import authenticate
from phi_assets.emulator.serving.documents import DEPLOYMENT, deployment_key, require_endpoint, scoring_uri
from phi_assets.emulator.serving.forwarding import Forwarder, unavailable
from phi_assets.emulator.serving.gate import choose
from phi_assets.emulator.serving.manager import Target
from phi_assets.emulator.serving.openapi import document_of
from phi_assets.emulator.state import Document

DEPLOYMENT_HEADER = "azureml-model-deployment"


async def score(request: Request) -> Response:
    """The answer of one of the endpoint's deployments, with the deployment's name in a header."""
    emulator: Emulator = request.app.state.emulator
    endpoint = _authenticated(request)
    name = request.headers.get(DEPLOYMENT_HEADER) or choose(
        endpoint["properties"]["traffic"], emulator.deployments.generator
    )
    if name is None:
        raise ServiceError(
            404,
            "NoDeploymentWithTraffic",
            f"No deployment of the endpoint '{endpoint['name']}' has positive traffic. Set the endpoint's traffic, or "
            f"name a deployment in the header {DEPLOYMENT_HEADER}.",
        )
    target = _target(emulator, endpoint["name"], name)
    answer = await _forwarder(request).score(target, await request.body())
    return Response(answer, media_type="application/json", headers={DEPLOYMENT_HEADER: target.deployment})


async def swagger(request: Request) -> Response:
    """The OpenAPI document of the endpoint."""
    endpoint = _authenticated(request)
    return JSONResponse(document_of(endpoint["name"], scoring_uri(request.app.state.emulator, endpoint["name"])))


def _authenticated(request: Request) -> Document:
    emulator: Emulator = request.app.state.emulator
    endpoint = require_endpoint(emulator.store, request.path_params["endpoint"])
    authenticate(emulator, endpoint, request.headers.get("authorization", ""))
    return endpoint


def _target(emulator: Emulator, endpoint: str, name: str) -> Target:
    target = emulator.deployments.target(endpoint, name)
    if target is not None:
        return target
    document = emulator.store.get(DEPLOYMENT, deployment_key(endpoint, name))
    if document is None:
        raise ServiceError(404, "DeploymentNotFound", f"The endpoint '{endpoint}' has no deployment '{name}'.")
    if document["state"] == "Succeeded":
        raise unavailable(name)
    raise ServiceError(
        404,
        "DeploymentNotReady",
        f"The deployment '{name}' of the endpoint '{endpoint}' is in {document['state']} provisioning state and "
        "does not serve.",
    )


def _forwarder(request: Request) -> Forwarder:
    state = request.app.state
    if not hasattr(state, "forwarder"):
        state.forwarder = Forwarder()
    return state.forwarder


routes = [
    Route("/endpoints/{endpoint}/score", score, methods=["POST"]),
    Route("/endpoints/{endpoint}/swagger.json", swagger, methods=["GET"]),
]
