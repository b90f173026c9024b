"""From a credential mode to a credential of azure-identity."""

import os
from collections.abc import Callable
from typing import Any

from azure.core.credentials import TokenCredential

from phi_assets.azureml.connection.clouds import CLOUDS
from phi_assets.config.settings import Cloud, CredentialMode


def credential(
    mode: CredentialMode,
    *,
    cloud: Cloud = "AzureCloud",
    tenant_id: str | None = None,
    client_id: str | None = None,
) -> TokenCredential:
    """The credential of a mode, and of no other. A browser opens for `interactive` only.

    Secrets, certificate and token file are read from the environment by azure-identity. Which cloud the Azure CLI and
    a managed identity belong to is decided where they are set up.
    """
    from azure import identity

    authority = _authority(cloud)
    tenant: dict[str, Any] = {"tenant_id": tenant_id} if tenant_id else {}
    client: dict[str, Any] = {"client_id": client_id} if client_id else {}
    makers: dict[CredentialMode, Callable[[], TokenCredential]] = {
        "default": lambda: identity.DefaultAzureCredential(exclude_interactive_browser_credential=True, **authority),
        "cli": lambda: identity.AzureCliCredential(**tenant),
        "environment": lambda: identity.EnvironmentCredential(**authority),
        "managed_identity": lambda: identity.ManagedIdentityCredential(**client),
        "workload_identity": lambda: identity.WorkloadIdentityCredential(**tenant, **client, **authority),
        "interactive": lambda: identity.InteractiveBrowserCredential(**tenant, **authority),
    }
    return makers[mode]()


def _authority(cloud: Cloud) -> dict[str, Any]:
    # Given by hand (or by Kubernetes), it is more precise than the cloud's name.
    given = os.environ.get("AZURE_AUTHORITY_HOST")
    if not given:
        return {"authority": CLOUDS[cloud].authority}
    host = given.removeprefix("https://").strip("/")
    # The public cloud would be asked about an authority that nobody knows; a private one is often all there is.
    known = host in {addresses.authority for addresses in CLOUDS.values()}
    return {"authority": host} if known else {"authority": host, "disable_instance_discovery": True}
