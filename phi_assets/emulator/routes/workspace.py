"""The workspace itself, and what it lies in: tenant, subscription, resource group."""

from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.wire.errors import ServiceError, not_found
from phi_assets.emulator.wire.paths import PROVIDER as PROVIDER_SEGMENT
from phi_assets.emulator.wire.paths import WS
from phi_assets.emulator.workspace.context import ACCOUNT, Emulator
from phi_assets.emulator.workspace.locks import lock_documents
from phi_assets.emulator.workspace.resources import PROVIDER, system_data

_CREATED = "2026-01-01T00:00:00.000000+00:00"
_GROUP = "/subscriptions/{subscription}/resourcegroups/{group}"
_LOCKS = "/providers/microsoft.authorization/locks"


def _document(emulator: Emulator) -> dict[str, Any]:
    group = f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}"
    auth = emulator.auth
    return {
        "id": emulator.workspace_path,
        "name": emulator.workspace_name,
        "type": f"{PROVIDER}/workspaces",
        "location": emulator.location,
        "tags": {},
        "etag": None,
        "kind": emulator.workspace_kind,
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {"type": "SystemAssigned", "principalId": auth.object_id, "tenantId": auth.tenant_id},
        "properties": {
            "workspaceId": emulator.workspace_id,
            "friendlyName": emulator.workspace_name,
            "description": "A workspace of the phi_assets emulator on this machine.",
            "provisioningState": "Succeeded",
            "discoveryUrl": f"{emulator.base_url}/discovery",
            "mlFlowTrackingUri": (
                f"azureml://{emulator.base_url.removeprefix('https://')}/mlflow/v1.0{emulator.workspace_path}"
            ),
            "storageAccount": f"{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}",
            "keyVault": f"{group}/providers/Microsoft.KeyVault/vaults/emulator",
            "applicationInsights": f"{group}/providers/Microsoft.Insights/components/emulator",
            "containerRegistry": f"{group}/providers/Microsoft.ContainerRegistry/registries/emulator",
            "imageBuildCompute": None,
            "linkedModelInventoryArmId": None,
            "sasGetterUri": None,
            "sdkTelemetryAppInsightsKey": "",
            "notebookInfo": {
                "fqdn": urlsplit(emulator.studio_url).hostname,
                "resourceId": emulator.workspace_id,
                "isPrivateLinkEnabled": False,
                "notebookPreparationError": None,
            },
            "hbiWorkspace": False,
            "storageHnsEnabled": False,
            "publicNetworkAccess": "Enabled",
            "enableDataIsolation": False,
            "privateLinkCount": 0,
            "v1LegacyMode": False,
            "systemDatastoresAuthMode": "identity" if emulator.storage_auth == "identity" else "accesskey",
            # Where there is none, a workspace of the time of the recordings does not speak of it.
            **(
                {"managedNetwork": {"isolationMode": mode}}
                if (mode := emulator.network_isolation) != "Disabled"
                else {}
            ),
            "tenantId": auth.tenant_id,
        },
        "systemData": system_data(_CREATED, _CREATED),
    }


def _get(request: Request) -> Response:
    return JSONResponse(_document(request.app.state.emulator))


def _list(request: Request) -> Response:
    return JSONResponse({"value": [_document(request.app.state.emulator)]})


def _resource_group(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    return JSONResponse(
        {
            "id": f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}",
            "name": emulator.resource_group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": emulator.location,
            "properties": {"provisioningState": "Succeeded"},
        }
    )


def _subscription(emulator: Emulator) -> dict[str, Any]:
    subscription = emulator.subscription_id
    return {
        "id": f"/subscriptions/{subscription}",
        "subscriptionId": subscription,
        "displayName": "phi_assets emulator",
        "tenantId": emulator.auth.tenant_id,
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def _subscriptions(request: Request) -> Response:
    """What `az login` asks for."""
    found = [_subscription(request.app.state.emulator)]
    return JSONResponse({"value": found, "count": {"type": "Total", "value": len(found)}})


def _tenants(request: Request) -> Response:
    tenant = request.app.state.emulator.auth.tenant_id
    described = {"tenantType": "AAD", "displayName": "phi_assets emulator", "tenantCategory": "Home"}
    return JSONResponse({"value": [{"id": f"/tenants/{tenant}", "tenantId": tenant, **described}]})


def _get_subscription(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    wanted = request.path_params["subscription"]
    if wanted.lower() != emulator.subscription_id.lower():
        raise ServiceError(404, "SubscriptionNotFound", f"The subscription '{wanted}' could not be found.")
    return JSONResponse(_subscription(emulator))


def _storage_account(request: Request) -> Response:
    """The workspace's storage account, as far as it says whether keys open it."""
    emulator: Emulator = request.app.state.emulator
    return JSONResponse(
        {
            "id": _document(emulator)["properties"]["storageAccount"],
            "name": ACCOUNT,
            "type": "Microsoft.Storage/storageAccounts",
            "location": emulator.location,
            "properties": {"allowSharedKeyAccess": emulator.storage_auth == "keys"},
        }
    )


def _registry(request: Request) -> Response:
    """A registry as a resource of its own: what somebody finds who takes its name for a workspace's."""
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["registry"]
    if name not in emulator.catalog.registries():
        raise not_found("Registry", name)
    group = f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}"
    return JSONResponse(
        {
            "id": f"{group}/providers/{PROVIDER}/registries/{name}",
            "name": name,
            "type": f"{PROVIDER}/registries",
            "location": emulator.location,
            "properties": {},
        }
    )


def _locks(request: Request) -> Response:
    return JSONResponse({"value": lock_documents(request.app.state.emulator)})


def _provider(request: Request) -> Response:
    """The resource provider, as a subscription shows it that has registered it."""
    emulator: Emulator = request.app.state.emulator
    return JSONResponse(
        {
            "id": f"/subscriptions/{emulator.subscription_id}/providers/{PROVIDER}",
            "namespace": PROVIDER,
            "registrationPolicy": "RegistrationRequired",
            "registrationState": emulator.provider_state,
            "resourceTypes": [{"resourceType": "workspaces", "locations": [emulator.location], "apiVersions": []}],
        }
    )


routes = [
    Route("/subscriptions", _subscriptions),
    Route("/tenants", _tenants),
    Route("/subscriptions/{subscription}", _get_subscription),
    Route(WS, _get),
    Route(f"{_GROUP}/providers/{PROVIDER_SEGMENT}/workspaces", _list),
    Route(f"/subscriptions/{{subscription}}/providers/{PROVIDER_SEGMENT}/workspaces", _list),
    Route(_GROUP, _resource_group),
    Route(f"{_GROUP}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}", _storage_account),
    Route(f"{_GROUP}/providers/{PROVIDER_SEGMENT}/registries/{{registry}}", _registry),
    Route(WS + _LOCKS, _locks),
    Route(_GROUP + _LOCKS, _locks),
    # Those of the subscription itself: none.
    Route("/subscriptions/{subscription}" + _LOCKS, lambda _: JSONResponse({"value": []})),
    Route(f"/subscriptions/{{subscription}}/providers/{PROVIDER_SEGMENT}", _provider),
]
