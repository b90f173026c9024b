"""Datastores of the workspace: what a path in one means, and the container behind it."""

import re
from typing import TYPE_CHECKING, Any

from phi_assets.azureml.connection.client import Workspace

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


def container_of(ws: Workspace, name: str) -> "ContainerClient":
    """A client of the datastore's container, with the datastore's own key or signature, else as the signed-in one."""
    from azure.storage.blob import ContainerClient

    datastore: Any = ws.ml.datastores.get(name, include_secrets=True)
    secrets = datastore.credentials
    credential = getattr(secrets, "sas_token", None) or getattr(secrets, "account_key", None) or ws.credential
    account = f"{datastore.protocol or 'https'}://{datastore.account_name}.blob.{datastore.endpoint}"
    return ContainerClient(account, datastore.container_name, credential=credential)
