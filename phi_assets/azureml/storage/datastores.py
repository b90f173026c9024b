"""Datastores of the workspace: what a path in one means, and the container behind it."""

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.clouds import CLOUDS
from phi_assets.azureml.connection.retry import find, silent
from phi_assets.dataset.errors import DatasetError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

_DATASTORE_URI = re.compile(r"^azureml://(?:.*/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)$")


def is_datastore_uri(uri: str) -> bool:
    """Whether the uri says in which datastore, and where there; `${{...}}` is still to be replaced by the service."""
    return "${{" not in uri and _DATASTORE_URI.match(uri) is not None


def place_of(uri: str) -> tuple[str, str]:
    """The datastore, and the names of the folder's blobs up to and with the slash."""
    match = _DATASTORE_URI.match(uri)
    assert match, f"{uri} is no datastore uri"
    return match["datastore"], match["path"].rstrip("/") + "/"


def uri_of(ws: Workspace, url: str) -> str | None:
    """The path in a datastore of the workspace that means what lies at `url`; None where no datastore has it."""
    if is_datastore_uri(url):
        return url
    if urlsplit(url).scheme not in ("abfs", "abfss", "az"):
        return None
    container, endpoint, path = parts_of(url)
    account = urlsplit(endpoint).netloc.partition(".")[0] or account_of_connection_string()
    datastores: Any = ws.ml.datastores.list()
    names = [
        str(each.name)
        for each in datastores
        if (getattr(each, "account_name", None), _container_name(each)) == (account, container)
    ]
    return f"azureml://datastores/{names[0]}/paths/{path}" if names else None


def uri_of_asset(ws: Workspace, asset: str) -> str:
    """Where the data asset `azureml:<name>:<version>` of the workspace lies: the path in a datastore.

    Raises:
        DatasetError: there is no such data asset, or it lies elsewhere.
    """
    _, _, named = asset.partition(":")
    name, _, version = named.partition(":")
    if not version:
        raise DatasetError(f"{asset} does not say which version: write azureml:{name or '<name>'}:<version>")
    found: Any = find(lambda: ws.ml.data.get(name, version), f"data asset {name}", silent)
    if found is None:
        raise DatasetError(f"Workspace {ws.name} has no data asset {name}:{version}")
    uri = str(found.path)
    if not is_datastore_uri(uri):
        raise DatasetError(f"Data asset {name}:{version} lies at {uri}, which is in no datastore: name that place")
    datastore, path = place_of(uri)
    return f"azureml://datastores/{datastore}/paths/{path}".rstrip("/")


def parts_of(url: str, suffix: str = CLOUDS["AzureCloud"].storage) -> tuple[str, str, str]:
    """Container, address of the account (empty where a connection string says it) and path of an `abfss://` URL.

    `suffix` is what the hosts of accounts end with, where the URL names an account alone.

    Raises:
        DatasetError: the account is nowhere.
    """
    parts = urlsplit(url)
    container, _, host = parts.netloc.partition("@")
    if host and "." not in host:
        host = f"{host}.blob.{suffix}"
    if host:
        return container, f"https://{host.replace('.dfs.', '.blob.', 1)}", parts.path.strip("/")
    if account_of_connection_string():
        return container, "", parts.path.strip("/")
    if name := os.environ.get("AZURE_STORAGE_ACCOUNT_NAME"):
        return container, f"https://{name}.blob.{suffix}", parts.path.strip("/")
    raise DatasetError(
        f"{url} does not say which storage account: write abfss://{container}@<account>.dfs.{suffix}/..., or set "
        "AZURE_STORAGE_ACCOUNT_NAME"
    )


def account_of_connection_string() -> str:
    """The account that `AZURE_STORAGE_CONNECTION_STRING` opens; empty where it is not set."""
    parts = (part.partition("=") for part in os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
    return next((value for name, _, value in parts if name.lower() == "accountname"), "")


def _container_name(datastore: Any) -> str | None:
    """Of Data Lake Gen2 it is called a file system."""
    return getattr(datastore, "container_name", None) or getattr(datastore, "filesystem", None)


def container_of(ws: Workspace, name: str) -> "ContainerClient":
    """A client of the datastore's container, with the datastore's own key or signature, else as the signed-in one.

    Raises:
        DatasetError: the datastore is one of file shares, which have no container.
    """
    from azure.storage.blob import ContainerClient

    datastore: Any = ws.ml.datastores.get(name, include_secrets=True)
    if not (container := _container_name(datastore)):
        raise DatasetError(
            f"Datastore {name} has no container of blobs: take one of Azure Blob Storage or Data Lake Storage Gen2"
        )
    secrets = datastore.credentials
    credential = getattr(secrets, "sas_token", None) or getattr(secrets, "account_key", None) or ws.credential
    account = f"{datastore.protocol or 'https'}://{datastore.account_name}.blob.{datastore.endpoint}"
    return ContainerClient(account, container, credential=credential)
