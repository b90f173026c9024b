"""Versioned assets of the workspace: data, models, environments, code, components.

A version is a document `{"name", "version", "created", "modified", "properties"}` of store kind `data`, `model`,
`environment`, `code` or `component` under the key `<name>/<version>`; its container, which comes with the first
version, is one of kind `<kind>-container` under the key `<name>`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from phi_assets.emulator.store.state import Document, Documents
from phi_assets.emulator.wire.errors import ServiceError, not_found
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import PROVIDER, check_asset_name, now, system_data

DEFAULT_VERSION = "azureml_default"
"""What the SDK asks for where a component is named without a version: the one of the label `default`."""
_CHANGEABLE_IN_CONTAINER = ("description", "tags", "properties", "isArchived")


@dataclass(frozen=True)
class AssetKind:
    """A kind of asset: its store kind, its segment in paths, and how messages call it."""

    kind: str
    segment: str
    title: str
    missing: str


DATA = AssetKind("data", "data", "Data asset", "DataNotFound")
MODELS = AssetKind("model", "models", "Model", "ModelNotFound")
ENVIRONMENTS = AssetKind("environment", "environments", "Environment", "EnvironmentNotFound")
CODES = AssetKind("code", "codes", "Code", "CodeNotFound")
COMPONENTS = AssetKind("component", "components", "Component", "ComponentNotFound")


def find_version(emulator: Emulator, kind: AssetKind, name: str, version: str) -> Document | None:
    """The document of one version, or None."""
    return emulator.store.get(kind.kind, f"{name}/{version}")


def latest_version(emulator: Emulator, kind: AssetKind, name: str) -> Document | None:
    """The version created last that is not archived, which is what the label `latest` means; None if there is none."""
    active = [document for document in versions(emulator, kind, name) if not is_archived(document)]
    return active[-1] if active else None


def require_version(emulator: Emulator, kind: AssetKind, name: str, version: str) -> Document:
    """Raises ServiceError: 404 `UserError` with the kind's detail code."""
    is_default = kind is COMPONENTS and version == DEFAULT_VERSION
    document = latest_version(emulator, kind, name) if is_default else find_version(emulator, kind, name, version)
    if document is None:
        raise missing(kind, f"{name}:{version}")
    return document


def versions(emulator: Emulator, kind: AssetKind, name: str) -> Documents:
    """All versions in the order of their creation."""
    return emulator.store.list(kind.kind, f"{name}/")


def missing(kind: AssetKind, name: str) -> ServiceError:
    """404 as the service answers for assets."""
    return not_found(kind.title, name, code="UserError", detail=kind.missing)


def is_archived(document: Document) -> bool:
    """Whether listings leave it out unless asked for archived assets too."""
    return bool(document["properties"].get("isArchived"))


def put_version(
    emulator: Emulator,
    kind: AssetKind,
    name: str,
    version: str,
    properties: dict[str, Any],
    merge: Callable[[Document, dict[str, Any]], dict[str, Any]],
) -> tuple[Document, bool]:
    """The version with these properties, and whether it is new.

    For one that exists, `merge(document, properties)` says what its properties become; it raises ServiceError for a
    change that the service does not allow.
    """
    check_asset_name(name, version)
    moment = now(emulator)
    document = {
        "name": name,
        "version": version,
        "created": moment,
        "modified": moment,
        "properties": {"isArchived": False, **properties},
    }
    if emulator.store.create(kind.kind, f"{name}/{version}", document):
        container = {"name": name, "created": moment, "modified": moment, "properties": {"isArchived": False}}
        emulator.store.create(f"{kind.kind}-container", name, container)
        return document, True

    def change(current: Document) -> Document:
        return current | {"modified": moment, "properties": merge(current, properties)}

    changed = emulator.store.update(kind.kind, f"{name}/{version}", change)
    if changed is None:  # deleted a moment ago
        raise missing(kind, f"{name}:{version}")
    return changed, False


def put_container(emulator: Emulator, kind: AssetKind, name: str, properties: dict[str, Any]) -> Document:
    """The container with its description, tags, properties and archive mark set as given."""
    check_asset_name(name)
    moment = now(emulator)
    wanted = {key: properties[key] for key in _CHANGEABLE_IN_CONTAINER if key in properties}
    created = {"name": name, "created": moment, "modified": moment, "properties": {"isArchived": False, **wanted}}
    if emulator.store.create(f"{kind.kind}-container", name, created):
        return created

    def change(current: Document) -> Document:
        return current | {"modified": moment, "properties": current["properties"] | wanted}

    return emulator.store.update(f"{kind.kind}-container", name, change) or created


def delete_version(emulator: Emulator, kind: AssetKind, name: str, version: str) -> bool:
    """Removes the version, and its container with the last one; the files stay where they are."""
    deleted = emulator.store.delete(kind.kind, f"{name}/{version}")
    if deleted and not versions(emulator, kind, name):
        emulator.store.delete(f"{kind.kind}-container", name)
    return deleted


def delete_container(emulator: Emulator, kind: AssetKind, name: str) -> bool:
    """Removes the container with all versions; the files stay where they are."""
    for document in versions(emulator, kind, name):
        emulator.store.delete(kind.kind, f"{name}/{document['version']}")
    return emulator.store.delete(f"{kind.kind}-container", name)


def next_version(documents: Documents) -> str:
    """One more than the highest version that is a number."""
    return str(
        max((int(document["version"]) for document in documents if document["version"].isdigit()), default=0) + 1
    )


def version_document(emulator: Emulator, kind: AssetKind, document: Document) -> dict[str, Any]:
    """The ARM resource of a version."""
    name, version = document["name"], document["version"]
    return {
        "id": f"{emulator.workspace_path}/{kind.segment}/{name}/versions/{version}",
        "name": version,
        "type": f"{PROVIDER}/workspaces/{kind.segment}/versions",
        "properties": {"description": None, "tags": {}, "properties": {}} | document["properties"],
        "systemData": system_data(document["created"], document["modified"], with_author_of_change=kind is not DATA),
    }


def container_document(emulator: Emulator, kind: AssetKind, container: Document) -> dict[str, Any]:
    """The ARM resource of a container, with `latestVersion` and `nextVersion`."""
    documents = versions(emulator, kind, container["name"])
    latest = {"latestVersion": documents[-1]["version"] if documents else None, "nextVersion": next_version(documents)}
    if kind is DATA and documents:
        latest["dataType"] = documents[-1]["properties"]["dataType"]
    if kind is COMPONENTS and documents:
        latest["nextVersion"] = f"{emulator.clock.now():%Y-%m-%d-%H-%M-%S-%f}0"  # as recorded
        latest["description"] = documents[-1]["properties"]["componentSpec"].get("description")
    nothing = None if kind is DATA else {}
    return {
        "id": f"{emulator.workspace_path}/{kind.segment}/{container['name']}",
        "name": container["name"],
        "type": f"{PROVIDER}/workspaces/{kind.segment}",
        "properties": {"description": None, "tags": nothing, "properties": nothing} | container["properties"] | latest,
        "systemData": system_data(container["created"], container["modified"], with_author_of_change=kind is not DATA),
    }
