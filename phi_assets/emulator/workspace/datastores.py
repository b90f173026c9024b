"""The workspace's datastores: the two that it comes with, and those that somebody has added.

An added one is a document of store kind `datastore` under its name in lower case. Data lies behind it if it is of the
workspace's own storage account; others are only kept.
"""

from collections.abc import Mapping
from typing import Any

from phi_assets.emulator.store.blobs import CONTAINER_OF_DATASTORE, DATASTORE_OF_CONTAINER, parse_datastore_uri
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import not_found, user_error
from phi_assets.emulator.workspace.context import ACCOUNT, Emulator

KIND = "datastore"


def datastore_path(emulator: Emulator, uri: str) -> tuple[str, str]:
    """Container and blob name (or prefix) of `azureml://datastores/<d>/paths/<p>`, in the short or the long form.

    Raises:
        ServiceError: 400 if the uri has another form or the datastore's account is not here, 404 if the workspace has
            no such datastore.
    """
    datastore, path = parse_datastore_uri(uri)
    return container_of(emulator, datastore), path


def container_of(emulator: Emulator, datastore: str) -> str:
    """The container behind a datastore. Raises ServiceError as `datastore_path`."""
    built_in = CONTAINER_OF_DATASTORE.get(datastore.lower())
    if built_in is not None:
        return built_in
    properties = require_datastore(emulator, datastore)["properties"]
    if not is_of_workspace(emulator, properties):
        raise user_error(
            f"Datastore '{datastore}' is of storage account '{properties['accountName']}', which this emulator cannot "
            f"reach; the account of the workspace is '{ACCOUNT}'.",
            "BadArgument/UnsupportedUri",
        )
    return str(properties["containerName"])


def datastore_of(emulator: Emulator, container: str) -> str | None:
    """The datastore that a container of the workspace's account is known by; None if there is none."""
    if container in DATASTORE_OF_CONTAINER:
        return DATASTORE_OF_CONTAINER[container]
    added = (each for each in emulator.store.list(KIND) if each["properties"]["containerName"] == container)
    return next((each["name"] for each in added if is_of_workspace(emulator, each["properties"])), None)


def require_datastore(emulator: Emulator, name: str) -> Document:
    """The document of an added datastore. Raises ServiceError: 404."""
    document = emulator.store.get(KIND, name.lower())
    if document is None:
        raise not_found("Datastore", name)
    return document


def is_of_workspace(emulator: Emulator, properties: Mapping[str, Any]) -> bool:
    """Whether the datastore is of the workspace's storage account, by its name or by the address it has here."""
    return properties["accountName"] in {ACCOUNT, emulator.storage_account}
