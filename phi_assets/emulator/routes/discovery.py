"""Where everything is: cloud metadata, service discovery, registries, tokens of the managed identity, health."""

import hmac
import time

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.process import STORAGE_SUFFIX, VERSION
from phi_assets.emulator.security.auth import PORTAL
from phi_assets.emulator.wire.errors import ServiceError, not_found
from phi_assets.emulator.wire.paths import REGISTRY_DISCOVERY
from phi_assets.emulator.workspace.context import Emulator

_PLANES = (
    "api",
    "catalog",
    "experimentation",
    "gallery",
    "history",
    "hyperdrive",
    "labeling",
    "modelmanagement",
    "pipelines",
)
"""All of them are one listener here."""


def _health(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    return JSONResponse({"id": emulator.instance_id, "version": VERSION, "status": "ok"})


def _cloud_metadata(request: Request) -> Response:
    """What ARM_CLOUD_METADATA_URL names; the SDK takes the cloud whose `resourceManager` is part of that url."""
    emulator: Emulator = request.app.state.emulator
    base = emulator.base_url
    cloud = {
        "name": f"PhiEmulator-{request.url.port}",
        "portal": PORTAL,
        "resourceManager": base + "/",
        "authentication": {
            "loginEndpoint": base + "/aad",
            "audiences": emulator.auth.arm_audiences,
            "tenant": emulator.auth.tenant_id,
            "identityProvider": "AAD",
        },
        "graph": base + "/graph",
        "suffixes": {"storage": STORAGE_SUFFIX},
    }
    return JSONResponse([cloud])


def _service_discovery(request: Request) -> Response:
    """What the workspace's `discoveryUrl` names; the SDK reads `api`."""
    emulator: Emulator = request.app.state.emulator
    return JSONResponse(dict.fromkeys(_PLANES, emulator.base_url) | {"studio": emulator.studio_url})


def _managed_identity_token(request: Request) -> Response:
    """A token for `resource`, for whoever knows the identity header.

    The protocol is that of App Service: https://learn.microsoft.com/azure/app-service/overview-managed-identity
    """
    auth = request.app.state.emulator.auth
    given = request.headers.get("x-identity-header", "")
    if not hmac.compare_digest(given.encode(), auth.identity_header.encode()):
        raise ServiceError(401, "Unauthorized", "The X-IDENTITY-HEADER is missing or wrong.")
    resource = request.query_params.get("resource", "")
    if not auth.knows_audience(resource):
        raise ServiceError(400, "invalid_resource", f"The resource '{resource}' is not known to this emulator.")
    token = auth.issue(resource)
    expires_on = jwt.decode(token, options={"verify_signature": False})["exp"]
    answer = {
        "access_token": token,
        "expires_on": str(expires_on),
        "expires_in": str(expires_on - int(time.time())),
        "resource": resource,
        "token_type": "Bearer",
        "client_id": auth.client_id,
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _registry_discovery(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["registry"]
    if name not in emulator.catalog.registries():
        raise not_found("Registry", name, detail="RegistryNotFound")
    return JSONResponse(
        {
            "registryName": name,
            "subscriptionId": emulator.subscription_id,
            "resourceGroup": emulator.resource_group,
            "primaryRegion": emulator.location,
            "regions": [emulator.location],
            "primaryRegionResourceProviderUri": emulator.base_url + "/",
            "workspaceId": None,
        }
    )


open_routes = [
    Route("/healthz", _health),
    Route("/metadata/endpoints", _cloud_metadata),
    Route("/discovery", _service_discovery),
    Route("/msi/token", _managed_identity_token),
]

routes = [Route(REGISTRY_DISCOVERY, _registry_discovery)]
