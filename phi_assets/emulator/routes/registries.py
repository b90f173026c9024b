"""Data plane of the registries: models with their files, components and environments, for reading."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.wire.paging import page
from phi_assets.emulator.wire.paths import REGISTRY
from phi_assets.emulator.workspace.catalog import KINDS, Asset, Catalog
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.registry_files import files_url, lay_out
from phi_assets.emulator.workspace.resources import as_text, system_data, timestamp

_PAGE = 100
_REGISTRY_NODE = re.compile(r"azureml:([^/:@]+)(?::([^/:@]+)|@latest)")
_ARM_TYPE = "Microsoft.MachineLearningServices/registries/{}/versions"
# The data plane names models without the provider, the other kinds with it.
_TYPES = {
    "models": "models",
    "components": _ARM_TYPE.format("components"),
    "environments": _ARM_TYPE.format("environments"),
}
_ORDERS = {"createdtime desc": True, "createdtime asc": False, "createdtime": False}


_HOURS = 24


def _emulator(request: Request) -> Emulator:
    return request.app.state.emulator


def _catalog(request: Request) -> Catalog:
    return _emulator(request).catalog


def _where(request: Request) -> tuple[str, str]:
    kind = request.path_params["kind"].lower()
    if kind not in KINDS:
        raise user_error(f"This registry has no '{kind}'; it has: {', '.join(KINDS)}.", "BadArgument", status=404)
    return kind, request.path_params["registry"]


def _containers(request: Request) -> Response:
    kind, registry = _where(request)
    names = [
        name
        for name in _catalog(request).names(kind, registry)
        if _visible(_catalog(request).versions(kind, registry, name), request)
    ]
    return page(request, [_container(request, kind, registry, name) for name in names], size=_PAGE)


def _get_container(request: Request) -> Response:
    kind, registry = _where(request)
    name = request.path_params["name"]
    if not _catalog(request).versions(kind, registry, name):
        # The catalog's own error names what is missing.
        _catalog(request).resolve(f"azureml:{name}@latest", kind=kind, registry=registry)
    return JSONResponse(_container(request, kind, registry, name))


def _versions(request: Request) -> Response:
    kind, registry = _where(request)
    assets = _visible(_catalog(request).versions(kind, registry, request.path_params["name"]), request)
    order = request.query_params.get("$orderBy") or request.query_params.get("$orderby") or "createdtime desc"
    if order.lower() not in _ORDERS:
        raise user_error(f"$orderBy '{order}' is not one of: {', '.join(_ORDERS)}.", "BadArgument/ArgumentInvalid")
    if not _ORDERS[order.lower()]:
        assets.reverse()
    return page(request, [_document(asset, _emulator(request)) for asset in assets], size=_PAGE)


def _get_version(request: Request) -> Response:
    kind, registry = _where(request)
    catalog = _catalog(request)
    name, version = request.path_params["name"], request.path_params["version"]
    for asset in catalog.versions(kind, registry, name):
        if asset.version == version:
            return JSONResponse(_document(asset, _emulator(request)))
    asset = catalog.resolve(f"azureml:{name}:{version}", kind=kind, registry=registry)
    return JSONResponse(_document(asset, _emulator(request)))


def _data_reference(request: Request, _: Any) -> Response:
    """A signature to read the files of a model version with."""
    emulator, where = _emulator(request), request.path_params
    model = _catalog(request).get("models", where["registry"], where["name"], where["version"])
    container = lay_out(emulator, model)
    reference = {
        "blobUri": files_url(model),
        "storageAccountArmId": None,
        "credential": {"credentialType": "SAS", "sasUri": emulator.sas_url(container, "", "rl", _HOURS)},
    }
    return JSONResponse({"blobReferenceForConsumption": reference})


def _visible(assets: list[Asset], request: Request) -> list[Asset]:
    view = request.query_params.get("listViewType", "ActiveOnly").lower()
    if view == "all":
        return assets
    return [asset for asset in assets if asset.archived == (view == "archivedonly")]


def _container(request: Request, kind: str, registry: str, name: str) -> dict[str, Any]:
    versions = _catalog(request).versions(kind, registry, name)
    newest = versions[0]
    created = timestamp(versions[-1].created)
    return {
        "id": f"azureml://registries/{registry}/{kind}/{name}",
        "name": name,
        "type": _TYPES[kind].removesuffix("/versions"),
        "systemData": system_data(created, timestamp(newest.created)),
        "properties": {
            "description": newest.spec.get("description"),
            "tags": {},
            "properties": {},
            "isArchived": all(asset.archived for asset in versions),
            "latestVersion": newest.version,
            "nextVersion": str(int(newest.version) + 1) if newest.version.isdigit() else None,
        },
    }


def _document(asset: Asset, emulator: Emulator) -> dict[str, Any]:
    spec, catalog = asset.spec, emulator.catalog
    created = timestamp(asset.created)
    properties = {
        "description": spec.get("description"),
        "tags": _texts(spec.get("tags")),
        "properties": _texts(spec.get("properties")),
        "isArchived": asset.archived,
        "isAnonymous": False,
        "provisioningState": "Succeeded",
    }
    if asset.kind == "models":
        properties |= _model(asset, emulator)
    elif asset.kind == "components":
        properties |= {"componentSpec": component_spec(asset, catalog)}
    else:
        properties |= {
            "environmentType": "Curated",
            "image": spec.get("image"),
            "osType": "Linux",
            "condaFile": None,
            "inferenceConfig": spec.get("inference_config"),
        }
    return {
        "id": asset.id,
        # A registry model is named by its name, everything else by its version.
        "name": asset.name if asset.kind == "models" else asset.version,
        "type": _TYPES[asset.kind],
        "systemData": system_data(created, created),
        "properties": properties,
    }


def _model(asset: Asset, emulator: Emulator) -> dict[str, Any]:
    described = emulator.catalog.metadata_style(asset.registry).described(asset.spec)
    return described | {
        "tags": _texts(described["tags"]),
        "properties": _texts(described["properties"]),
        "modelType": asset.spec.get("type", "mlflow_model"),
        # By the service's own client, this is a place in a storage account:
        # https://github.com/Azure/azure-sdk-for-python/blob/main/sdk/ml/azure-ai-ml/azure/ai/ml/_utils/_storage_utils.py
        "modelUri": files_url(asset),
        "flavors": _flavors(asset.folder / "MLmodel"),
        "jobName": None,
        "stage": None,
    }


def _flavors(file: Path) -> dict[str, Any]:
    """Flavors as the service lists them, values as text; none for a model without an MLmodel file."""
    if not file.is_file():
        return {}
    flavors = (yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader) or {}).get("flavors") or {}
    return {name: {"data": _texts(values)} for name, values in flavors.items()}


def component_spec(asset: Asset, catalog: Catalog) -> dict[str, Any]:
    """The component's YAML as the service sends it back: scalars as text, nodes by component id, no `_source`."""
    spec = {
        key: value for key, value in asset.spec.items() if key not in {"_source", "jobs", "creation_context", "code"}
    }
    spec |= {"name": asset.name, "version": asset.version}
    described = as_text(spec)
    if asset.spec.get("jobs"):
        described["jobs"] = {name: _node(node, asset, catalog) for name, node in asset.spec["jobs"].items()}
    if str(asset.spec.get("type", "command")) == "command":
        described["resources"] = {"instance_count": "1"} | described.get("resources", {})
    return described


def _node(node: Mapping[str, Any], asset: Asset, catalog: Catalog) -> dict[str, Any]:
    described = as_text({key: value for key, value in node.items() if key not in {"component", "compute", "_source"}})
    described["inputs"] = {name: _binding(value) for name, value in (node.get("inputs") or {}).items()}
    described["outputs"] = {name: _binding(value) for name, value in (node.get("outputs") or {}).items()}
    described["componentId"] = _component_id(str(node.get("component")), asset, catalog)
    described["computeId"] = node.get("compute")
    return described


def _component_id(reference: str, asset: Asset, catalog: Catalog) -> str:
    try:
        return catalog.resolve(reference, kind="components", registry=asset.registry).id
    except ServiceError:
        # A pipeline may be looked at although a component of it is gone; submitting it says so.
        match = _REGISTRY_NODE.fullmatch(reference)
        if match is None or match[2] is None:
            return reference
        return f"azureml://registries/{asset.registry}/components/{match[1]}/versions/{match[2]}"


def _binding(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return as_text(value)
    return {"job_input_type": "literal", "value": as_text(value)}


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    """Tags, properties and flavor data are text: lists and mappings become Python literals, as in the registries."""
    return {str(key): str(value) for key, value in (values or {}).items() if value is not None}


routes = [
    Route(REGISTRY + "/{kind}", _containers),
    Route(REGISTRY + "/{kind}/{name}", _get_container),
    Route(REGISTRY + "/{kind}/{name}/versions", _versions),
    Route(REGISTRY + "/{kind}/{name}/versions/{version}", _get_version),
    Route(REGISTRY + "/datarefs/{name}/versions/{version}", with_json(_data_reference), methods=["POST"]),
]
