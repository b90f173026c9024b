"""Requests to the emulator without any SDK in between."""

import ssl
from datetime import UTC, datetime, timedelta

import httpx
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from phi_assets.emulator.process import Connection
from phi_assets.emulator.workspace.context import ACCOUNT


def raw_client(emulator: Connection) -> httpx.Client:
    """A client that trusts the emulator, follows no proxy and sends no credential."""
    trust = ssl.create_default_context(cafile=str(emulator.ca_bundle))
    return httpx.Client(base_url=emulator.base_url, verify=trust, trust_env=False, timeout=30)


def token(emulator: Connection, resource: str | None = None) -> str:
    """A bearer token of the managed identity."""
    with raw_client(emulator) as client:
        answer = client.get(
            emulator.identity_endpoint,
            params={"resource": resource or emulator.base_url},
            headers={"X-IDENTITY-HEADER": emulator.identity_header},
        )
    return answer.raise_for_status().json()["access_token"]


def arm_client(emulator: Connection) -> httpx.Client:
    """A client with a management token, whose base url is the workspace."""
    client = raw_client(emulator)
    client.headers["Authorization"] = f"Bearer {token(emulator)}"
    client.base_url = httpx.URL(emulator.base_url + workspace_path(emulator))
    return client


def workspace_path(emulator: Connection) -> str:
    """ARM path of the emulator's workspace."""
    return (
        f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{emulator.workspace_name}"
    )


def datastore_sas(emulator: Connection, datastore: str = "workspaceblobstore") -> tuple[str, str]:
    """Url of the datastore's container, and a query string that opens it, signed with the account's key."""
    url, key = datastore_key(emulator, datastore)
    query = generate_container_sas(
        ACCOUNT,
        url.rpartition("/")[2],
        account_key=key,
        permission=ContainerSasPermissions(**dict.fromkeys(("read", "add", "create", "write", "delete", "list"), True)),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return url, query


def datastore_key(emulator: Connection, datastore: str = "workspaceblobstore") -> tuple[str, str]:
    """Url of the datastore's container, and the account's key."""
    with arm_client(emulator) as client:
        properties = client.get(f"/datastores/{datastore}").raise_for_status().json()["properties"]
        secret = client.post(f"/datastores/{datastore}/listSecrets", json={}).raise_for_status().json()
    url = f"https://{properties['accountName']}.blob.{properties['endpoint']}/{properties['containerName']}"
    return url, secret["key"]
