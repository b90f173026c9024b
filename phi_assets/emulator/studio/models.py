"""Registered models, with where they come from and where they are."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from phi_assets.emulator.runner.records import Records, Run
from phi_assets.emulator.serving.documents import DEPLOYMENT
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.studio.jobs import inputs_of
from phi_assets.emulator.wire.errors import not_found
from phi_assets.emulator.workspace import assets
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.datastores import datastore_path

_MOST_FILES = 100
_ID = re.compile(r"(?P<name>[^:]+):(?P<version>[^:]+)")
_IN_WORKSPACE = re.compile(
    r".*/workspaces/[^/]+/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
    r"|(?:azureml:)?(?P<short>[A-Za-z0-9][\w.-]*):(?P<number>[\w.-]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ModelRow:
    """A version in the list."""

    id: str
    type: str
    created: str
    job: str | None
    deployments: tuple[Document, ...]


@dataclass(frozen=True)
class ModelPage:
    """A version, the job and the data before it, the deployments after it, its files."""

    id: str
    document: Document
    properties: dict[str, Any]
    details: tuple[tuple[str, str], ...]
    """Properties that the client gave, and the flavors of an MLflow model."""
    job: Run | None
    sources: tuple[tuple[str, str], ...]
    """Name and uri of what the job read."""
    deployments: tuple[Document, ...]
    files: tuple[tuple[str, int], ...]
    more_files: int
    size: int
    """Of all files together, in bytes."""


@dataclass(frozen=True)
class ModelFiles:
    """Blobs of a version: their container, what their names begin with, and the rest of each name with its size."""

    container: str
    prefix: str
    files: tuple[tuple[str, int], ...]


def model_rows(emulator: Emulator) -> list[ModelRow]:
    """All versions that are not archived, the newest first."""
    deployments = emulator.store.list(DEPLOYMENT)
    return [
        ModelRow(
            _id(model),
            model["properties"].get("modelType") or "custom_model",
            model["created"],
            model["properties"].get("jobName"),
            _serving(deployments, _id(model)),
        )
        for model in reversed(emulator.store.list(assets.MODELS.kind))
        if not assets.is_archived(model)
    ]


def model_page(emulator: Emulator, id_: str) -> ModelPage:
    """The page of `name:version`.

    Raises:
        ServiceError: 404 if there is no such model.
    """
    document = _document(emulator, id_)
    properties = {"description": None, "jobName": None, "tags": {}, "properties": {}} | document["properties"]
    records = Records(emulator)
    job = records.run(properties["jobName"]) if properties.get("jobName") else None
    root = records.run(job["root_run_id"]) if job else None
    files = model_files(emulator, id_).files
    return ModelPage(
        id=id_,
        document=document,
        properties=properties,
        details=tuple(_details(properties)),
        job=root,
        sources=_sources(records, root),
        deployments=_serving(emulator.store.list(DEPLOYMENT), id_),
        files=tuple(islice(files, _MOST_FILES)),
        more_files=max(len(files) - _MOST_FILES, 0),
        size=sum(size for _, size in files),
    )


def model_files(emulator: Emulator, id_: str) -> ModelFiles:
    """The files of `name:version`; none where they lie elsewhere.

    Raises:
        ServiceError: 404 if there is no such model.
    """
    uri = _document(emulator, id_)["properties"]["modelUri"]
    if "/datastores/" not in uri:
        return ModelFiles("", "", ())
    container, name = datastore_path(emulator, uri)
    prefix = name.rstrip("/") + "/"
    found = emulator.blobs.list(container, prefix)
    return ModelFiles(container, prefix, tuple((blob.name.removeprefix(prefix), blob.size) for blob in found))


def workspace_model(reference: str) -> str | None:
    """`name:version` of a deployment's model if it is one of the workspace, not of a registry."""
    match = _IN_WORKSPACE.fullmatch(reference)
    if match is None:
        return None
    return f"{match['name'] or match['short']}:{match['version'] or match['number']}"


def _document(emulator: Emulator, id_: str) -> Document:
    match = _ID.fullmatch(id_)
    document = assets.find_version(emulator, assets.MODELS, match["name"], match["version"]) if match else None
    if document is None:
        raise not_found("Model", id_)
    return document


def _id(model: Document) -> str:
    return f"{model['name']}:{model['version']}"


def _serving(deployments: Iterable[Document], id_: str) -> tuple[Document, ...]:
    return tuple(each for each in deployments if workspace_model(each["properties"]["model"]) == id_)


def _sources(records: Records, job: Run | None) -> tuple[tuple[str, str], ...]:
    given = inputs_of(records.family(job["run_id"]), job) if job else {}
    return tuple((name, value["uri"]) for name, value in given.items() if value.get("uri"))


def _details(properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in (properties["properties"] or {}).items():
        yield name, str(value)
    for flavor, content in (properties.get("flavors") or {}).items():
        data = content.get("data") if isinstance(content, dict) else None
        yield f"{flavor} flavor", "\n".join(f"{name}: {value}" for name, value in (data or {}).items())
