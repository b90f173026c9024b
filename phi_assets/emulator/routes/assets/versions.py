"""The routes that every kind of versioned asset has."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.store.state import Document, Documents
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.paths import WS
from phi_assets.emulator.wire.queries import number
from phi_assets.emulator.wire.shapes import FLAG, TEXT, TEXTS, Fields
from phi_assets.emulator.workspace import assets
from phi_assets.emulator.workspace.assets import AssetKind
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import check_asset_name, properties_of

Prepare = Callable[[Emulator, str, str, dict[str, Any]], dict[str, Any]]
"""`(emulator, name, version, sent properties)` -> the properties to keep, or a ServiceError."""

Merge = Callable[[Document, dict[str, Any]], dict[str, Any]]
"""`(existing document, wanted properties)` -> its new properties, or a ServiceError."""

_CHANGEABLE = ("description", "tags", "properties", "isArchived", "stage")
_FIELDS: Fields = {
    "description": TEXT,
    "tags": TEXTS,
    "properties": TEXTS,
    "isArchived": FLAG,
    "isAnonymous": FLAG,
    "stage": TEXT,
}


def asset_routes(kind: AssetKind, prepare: Prepare, merge: Merge, fields: Fields) -> list[Route]:
    """List, get, put and delete of containers and versions of `kind`; `fields` are those that only it has."""
    routes = _AssetRoutes(kind, prepare, merge)
    containers = f"{WS}/{kind.segment}"
    container = containers + "/{name}"
    version = container + "/versions/{version}"
    return [
        Route(containers, routes.list_containers),
        Route(container, routes.get_container),
        Route(container, with_json(routes.put_container, {"properties": _FIELDS}), methods=["PUT"]),
        Route(container, routes.delete_container, methods=["DELETE"]),
        Route(container + "/versions", routes.list_versions),
        Route(version, routes.get_version),
        Route(version, with_json(routes.put_version, {"properties": {**_FIELDS, **fields}}), methods=["PUT"]),
        Route(version, routes.delete_version, methods=["DELETE"]),
    ]


def with_changes(document: Document, wanted: dict[str, Any]) -> dict[str, Any]:
    """The document's properties with what the service lets change afterwards: description, tags, archive mark."""
    return document["properties"] | {key: wanted[key] for key in _CHANGEABLE if key in wanted}


class _AssetRoutes:
    def __init__(self, kind: AssetKind, prepare: Prepare, merge: Merge):
        self._kind = kind
        self._prepare = prepare
        self._merge = merge

    def list_containers(self, request: Request) -> Response:
        emulator = _emulator(request)
        found = emulator.store.list(f"{self._kind.kind}-container")
        shown = [assets.container_document(emulator, self._kind, container) for container in _viewed(request, found)]
        if self._kind is assets.COMPONENTS:
            for each in shown:
                each["properties"]["latestVersion"] = None  # as recorded
        return JSONResponse({"value": shown})

    def get_container(self, request: Request) -> Response:
        emulator, name = _emulator(request), request.path_params["name"]
        container = emulator.store.get(f"{self._kind.kind}-container", name)
        if container is None:
            raise assets.missing(self._kind, name)
        return JSONResponse(assets.container_document(emulator, self._kind, container))

    def put_container(self, request: Request, body: Any) -> Response:
        emulator = _emulator(request)
        container = assets.put_container(emulator, self._kind, request.path_params["name"], properties_of(body))
        return JSONResponse(assets.container_document(emulator, self._kind, container))

    def delete_container(self, request: Request) -> Response:
        deleted = assets.delete_container(_emulator(request), self._kind, request.path_params["name"])
        return Response(status_code=200 if deleted else 204)

    def list_versions(self, request: Request) -> Response:
        """Versions in the order that `$orderBy` asks for (newest first if it does not), at most `$top`.

        With `hash` all versions of that content, whatever their name: that is how the SDK finds uploaded code again.
        """
        emulator, query = _emulator(request), request.query_params
        if "hash" in query:
            found = [each for each in emulator.store.list(self._kind.kind) if _content_hash(each) == query["hash"]]
        else:
            found = assets.versions(emulator, self._kind, request.path_params["name"])
        found = _viewed(request, found)
        if "asc" not in query.get("$orderBy", "").lower().split():
            found.reverse()
        found = found[: number(request, "$top", least=1)]
        return JSONResponse({"value": [assets.version_document(emulator, self._kind, each) for each in found]})

    def get_version(self, request: Request) -> Response:
        emulator = _emulator(request)
        name, version = request.path_params["name"], request.path_params["version"]
        shown = assets.version_document(
            emulator, self._kind, assets.require_version(emulator, self._kind, name, version)
        )
        if version == assets.DEFAULT_VERSION and self._kind is assets.COMPONENTS:
            shown["id"] = f"{shown['id'].rpartition('/versions/')[0]}/labels/default"
        return JSONResponse(shown)

    def put_version(self, request: Request, body: Any) -> Response:
        emulator = _emulator(request)
        name, version = request.path_params["name"], request.path_params["version"]
        check_asset_name(name)
        wanted = self._prepare(emulator, name, version, _with_texts(properties_of(body)))
        document, is_new = assets.put_version(emulator, self._kind, name, version, wanted, self._merge)
        shown = assets.version_document(emulator, self._kind, document)
        # An environment that exists already is answered as if it were new: as recorded.
        if not is_new and self._kind is not assets.ENVIRONMENTS:
            return JSONResponse(shown)
        return JSONResponse(shown, 201, {"Location": emulator.base_url + shown["id"]})

    def delete_version(self, request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params["version"]
        deleted = assets.delete_version(_emulator(request), self._kind, name, version)
        return Response(status_code=200 if deleted else 204)


def _with_texts(sent: dict[str, Any]) -> dict[str, Any]:
    """Tags and properties are text, whatever was sent."""
    pairs = {key: sent[key] for key in ("tags", "properties") if isinstance(sent.get(key), dict)}
    return sent | {key: {name: value and str(value) for name, value in pair.items()} for key, pair in pairs.items()}


def _emulator(request: Request) -> Emulator:
    return request.app.state.emulator


def _content_hash(document: Document) -> str | None:
    return (document["properties"].get("properties") or {}).get("hash_sha256")


def _viewed(request: Request, found: Documents) -> Documents:
    view = request.query_params.get("listViewType", "ActiveOnly").lower()
    if view == "all":
        return found
    return [document for document in found if assets.is_archived(document) == (view == "archivedonly")]
