"""Online endpoints: https://learn.microsoft.com/rest/api/azureml/online-endpoints."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.routes.parts import parts_of
from phi_assets.emulator.serving import credentials, endpoints
from phi_assets.emulator.serving.documents import ENDPOINT, Begun, endpoint_path, endpoint_resource, require_endpoint
from phi_assets.emulator.serving.rules import bad_argument
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.paths import WS
from phi_assets.emulator.wire.shapes import OBJECT, TEXT, TEXTS, Fields
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.identities import IDENTITY
from phi_assets.emulator.workspace.resources import properties_of


def _emulator(request: Request) -> Emulator:
    return request.app.state.emulator


def _endpoint(request: Request) -> Document:
    return require_endpoint(_emulator(request).store, request.path_params["endpoint"])


def list_endpoints(request: Request) -> Response:
    """All endpoints, oldest first."""
    emulator = _emulator(request)
    return JSONResponse({"value": [endpoint_resource(emulator, found) for found in emulator.store.list(ENDPOINT)]})


def get_endpoint(request: Request) -> Response:
    """One endpoint."""
    return JSONResponse(endpoint_resource(_emulator(request), _endpoint(request)))


def put_endpoint(request: Request, body: Any) -> Response:
    """Begins to create the endpoint, or to replace its settings."""
    properties_of(body)
    emulator, name = _emulator(request), request.path_params["endpoint"]
    document, begun = endpoints.begin_put(emulator, name, body)
    operation = _start(emulator, document["name"], begun, endpoints.finish_put, endpoints.is_settled)
    return operations.accepted(operation, endpoint_resource(emulator, document), 201)


def patch_endpoint(request: Request, body: Any) -> Response:
    """Begins to change tags or identity."""
    if not isinstance(body, dict):
        raise bad_argument("The request body must be a JSON object with 'tags' or 'identity'.")
    emulator, name = _emulator(request), request.path_params["endpoint"]
    document, begun = endpoints.begin_patch(emulator, name, body)
    operation = _start(emulator, document["name"], begun, endpoints.finish_put, endpoints.is_settled)
    return operations.accepted(operation, None, 202)


def delete_endpoint(request: Request) -> Response:
    """Begins to delete the endpoint with all that belongs to it; 204 if there is none."""
    emulator, name = _emulator(request), request.path_params["endpoint"]
    begun = endpoints.begin_delete(emulator, name)
    if begun is None:
        return Response(status_code=204)
    finish = partial(endpoints.finish_delete, delete_deployment=parts_of(request).deployments.delete)
    operation = _start(emulator, name, begun, finish, endpoints.is_gone)
    return operations.accepted(operation, None, 202)


def list_keys(request: Request) -> Response:
    """Primary and secondary key."""
    return JSONResponse(credentials.list_keys(_emulator(request), _endpoint(request)))


def regenerate_keys(request: Request, body: Any) -> Response:
    """Replaces one key at once: the old one is refused from now on."""
    wanted = body if isinstance(body, dict) else {}
    credentials.regenerate_key(_emulator(request), _endpoint(request), wanted.get("keyType"), wanted.get("keyValue"))
    return Response(status_code=200)


def issue_token(request: Request) -> Response:
    """A token for an endpoint in mode AMLToken."""
    return JSONResponse(credentials.issue_token(_emulator(request), _endpoint(request)))


def _start(
    emulator: Emulator,
    name: str,
    begun: Begun,
    work: Callable[[Emulator, str], None],
    is_done: Callable[[Emulator, str], bool],
) -> operations.Operation:
    return operations.repeat_or_start(
        emulator,
        operations.ENDPOINT,
        endpoint_path(emulator, name),
        lambda: work(emulator, name),
        (lambda: is_done(emulator, name)) if begun is Begun.NOTHING else None,
    )


_FIELDS: Fields = {
    "location": TEXT,
    "tags": TEXTS,
    "identity": IDENTITY,
    "properties": {
        "authMode": TEXT,
        "description": TEXT,
        "properties": TEXTS,
        "publicNetworkAccess": TEXT,
        "traffic": OBJECT,
        "mirrorTraffic": OBJECT,
    },
}
_KEY: Fields = {"keyType": TEXT, "keyValue": TEXT}
_ENDPOINTS = WS + "/onlineendpoints"

routes = [
    Route(_ENDPOINTS, list_endpoints, methods=["GET"]),
    Route(_ENDPOINTS + "/{endpoint}", get_endpoint, methods=["GET"]),
    Route(_ENDPOINTS + "/{endpoint}", with_json(put_endpoint, _FIELDS), methods=["PUT"]),
    Route(_ENDPOINTS + "/{endpoint}", with_json(patch_endpoint, _FIELDS), methods=["PATCH"]),
    Route(_ENDPOINTS + "/{endpoint}", delete_endpoint, methods=["DELETE"]),
    Route(_ENDPOINTS + "/{endpoint}/listkeys", list_keys, methods=["POST"]),
    Route(
        _ENDPOINTS + "/{endpoint}/regeneratekeys",
        with_json(regenerate_keys, _KEY),
        methods=["POST"],
    ),
    Route(_ENDPOINTS + "/{endpoint}/token", issue_token, methods=["POST"]),
]
