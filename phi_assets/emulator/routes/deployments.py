"""Online deployments: https://learn.microsoft.com/rest/api/azureml/online-deployments."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.config.limits import INSTANCES
from phi_assets.emulator.routes.parts import parts_of
from phi_assets.emulator.serving import deployments
from phi_assets.emulator.serving.documents import (
    Begun,
    deployment_path,
    deployment_resource,
    deployments_of,
    require_deployment,
    require_endpoint,
)
from phi_assets.emulator.serving.logs import INFERENCE_SERVER
from phi_assets.emulator.serving.rules import bad_argument
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.paths import WS
from phi_assets.emulator.wire.shapes import FLAG, NUMBER, OBJECT, TEXT, TEXTS, Fields
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import properties_of

DEFAULT_LOG_LINES = 5000


def _names(request: Request) -> tuple[str, str]:
    return request.path_params["endpoint"], request.path_params["deployment"]


def list_deployments(request: Request) -> Response:
    """The endpoint's deployments, oldest first."""
    emulator: Emulator = request.app.state.emulator
    require_endpoint(emulator.store, request.path_params["endpoint"])
    found = deployments_of(emulator.store, request.path_params["endpoint"])
    return JSONResponse({"value": [deployment_resource(emulator, document) for document in found]})


def get_deployment(request: Request) -> Response:
    """One deployment."""
    emulator: Emulator = request.app.state.emulator
    return JSONResponse(deployment_resource(emulator, require_deployment(emulator.store, *_names(request))))


def put_deployment(request: Request, body: Any) -> Response:
    """Begins to create the deployment, or to replace it."""
    properties_of(body)
    emulator: Emulator = request.app.state.emulator
    document, begun = deployments.begin_put(emulator, *_names(request), body)
    manager = parts_of(request).deployments
    work = manager.create if begun is Begun.CREATION else manager.update
    operation = _start(emulator, document["endpoint"], document["name"], begun, work, deployments.is_settled)
    return operations.accepted(operation, deployment_resource(emulator, document), 201)


def patch_deployment(request: Request, body: Any) -> Response:
    """Begins to change tags or the instance count."""
    if not isinstance(body, dict):
        raise bad_argument("The request body must be a JSON object with 'tags' or 'sku'.")
    emulator: Emulator = request.app.state.emulator
    document, begun = deployments.begin_patch(emulator, *_names(request), body)
    work = parts_of(request).deployments.update
    operation = _start(emulator, document["endpoint"], document["name"], begun, work, deployments.is_settled)
    return operations.accepted(operation, None, 202)


def delete_deployment(request: Request) -> Response:
    """Begins to delete the deployment; 204 if there is none."""
    emulator: Emulator = request.app.state.emulator
    endpoint, name = _names(request)
    require_endpoint(emulator.store, endpoint)
    begun = deployments.begin_delete(emulator, endpoint, name)
    if begun is None:
        return Response(status_code=204)
    operation = _start(emulator, endpoint, name, begun, parts_of(request).deployments.delete, deployments.is_gone)
    return operations.accepted(operation, None, 202)


def get_logs(request: Request, body: Any) -> Response:
    """The end of a container's log."""
    wanted = body if isinstance(body, dict) else {}
    lines = wanted.get("tail")
    container = wanted.get("containerType") or INFERENCE_SERVER
    content = parts_of(request).deployments.logs(
        *_names(request), container=container, tail=DEFAULT_LOG_LINES if lines is None else lines
    )
    return JSONResponse({"content": content})


def list_skus(request: Request) -> Response:
    """How many instances the deployment may have."""
    emulator: Emulator = request.app.state.emulator
    document = require_deployment(emulator.store, *_names(request))
    capacity = {"default": 1, "minimum": 1, "maximum": INSTANCES.most, "scaleType": "Manual"}
    sku = {"name": document["sku"]["name"], "tier": None}
    resource_type = "Microsoft.MachineLearning.Services/endpoints/deployments"
    return JSONResponse({"value": [{"resourceType": resource_type, "sku": sku, "capacity": capacity}]})


def _start(
    emulator: Emulator,
    endpoint: str,
    name: str,
    begun: Begun,
    work: Callable[[str, str], None],
    is_done: Callable[[Emulator, str, str], bool],
) -> operations.Operation:
    return operations.repeat_or_start(
        emulator,
        operations.DEPLOYMENT,
        deployment_path(emulator, endpoint, name),
        lambda: work(endpoint, name),
        (lambda: is_done(emulator, endpoint, name)) if begun is Begun.NOTHING else None,
    )


_FIELDS: Fields = {
    "location": TEXT,
    "tags": TEXTS,
    "sku": {"name": TEXT, "tier": TEXT, "capacity": NUMBER},
    "properties": {
        "description": TEXT,
        "properties": TEXTS,
        "endpointComputeType": TEXT,
        "scaleSettings": {"scaleType": TEXT},
        "instanceType": TEXT,
        "model": TEXT,
        "environmentId": TEXT,
        "appInsightsEnabled": FLAG,
        "egressPublicNetworkAccess": TEXT,
        "environmentVariables": OBJECT,
        "codeConfiguration": OBJECT,
        "requestSettings": OBJECT,
        "livenessProbe": OBJECT,
        "readinessProbe": OBJECT,
    },
}
_LOGS: Fields = {"tail": NUMBER, "containerType": TEXT}
_DEPLOYMENTS = WS + "/onlineendpoints/{endpoint}/deployments"

routes = [
    Route(_DEPLOYMENTS, list_deployments, methods=["GET"]),
    Route(_DEPLOYMENTS + "/{deployment}", get_deployment, methods=["GET"]),
    Route(_DEPLOYMENTS + "/{deployment}", with_json(put_deployment, _FIELDS), methods=["PUT"]),
    Route(_DEPLOYMENTS + "/{deployment}", with_json(patch_deployment, _FIELDS), methods=["PATCH"]),
    Route(_DEPLOYMENTS + "/{deployment}", delete_deployment, methods=["DELETE"]),
    Route(
        _DEPLOYMENTS + "/{deployment}/getlogs",
        with_json(get_logs, _LOGS),
        methods=["POST"],
    ),
    Route(_DEPLOYMENTS + "/{deployment}/skus", list_skus, methods=["GET"]),
]
