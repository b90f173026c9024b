"""What a job's references mean in this workspace: components, computes, and files behind uris."""

import re
from pathlib import Path

from phi_assets.emulator.runner.pipeline.graph import SERVERLESS, Component
from phi_assets.emulator.runner.pipeline.values import MODEL_TYPES
from phi_assets.emulator.store import uploaded
from phi_assets.emulator.wire.errors import ServiceError, not_found, user_error
from phi_assets.emulator.workspace import assets
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.datastores import datastore_path
from phi_assets.emulator.workspace.locations import (
    SHORT,
    WORKSPACE_ASSET,
    check_environment,
    code_folder,
    resolve_uri,
    version_of,
)

_COMPUTE_ID = re.compile(r"(?:azureml:)?/subscriptions/.+/computes/(?P<name>[^/]+)", re.IGNORECASE)
_INVALID = "BadArgument/ArgumentInvalid"


class WorkspaceResources:
    """The emulator's workspace and registries as the graph and the steps see them."""

    def __init__(self, emulator: Emulator):
        self._emulator = emulator

    def component(self, reference: str, registry: str | None) -> Component:
        """The component of an id, or of `azureml:<name>:<version>` within `registry`, else within the workspace.

        Raises:
            ServiceError: 404 `NotFound` if it does not exist, 400 if the reference is of another kind.
        """
        try:
            of_workspace = version_of(self._emulator, reference, assets.COMPONENTS, or_short=registry is None)
        except ServiceError as error:
            raise ServiceError(404, "NotFound", error.message) from error
        if of_workspace is not None:
            spec = of_workspace["properties"]["componentSpec"]
            code = self.code(spec["code"], f"Component '{reference}'") if spec.get("code") else None
            identifier = assets.version_document(self._emulator, assets.COMPONENTS, of_workspace)["id"]
            return Component(identifier, of_workspace["name"], of_workspace["version"], spec, code)
        text = reference if registry else reference.removeprefix("azureml:azureml:")
        try:
            found = self._emulator.catalog.resolve(text, kind="components", registry=registry)
        except ServiceError as error:
            if error.status == 404:
                raise ServiceError(404, "NotFound", error.message) from error
            raise user_error(
                f"Component '{reference}' cannot be used: jobs run components of a registry "
                "(azureml://registries/<registry>/components/<name>/versions/<version>) or of the workspace.",
                _INVALID,
            ) from error
        code = found.file.parent / found.spec["code"] if found.spec.get("code") else None
        return Component(found.id, found.name, found.version, found.spec, code, found.registry)

    def code(self, reference: str, where: str) -> Path:
        """See `code_folder`."""
        return code_folder(self._emulator, reference, where)

    def check_environment(self, reference: str, where: str) -> None:
        """See `check_environment`."""
        check_environment(self._emulator, reference, where)

    def check_compute(self, name: str, where: str) -> str:
        """The plain name of a compute of the workspace that is not in state Failed, or `serverless`.

        Raises:
            ServiceError: 400, naming the computes that there are.
        """
        match = _COMPUTE_ID.fullmatch(name)
        plain = match["name"] if match else name.removeprefix("azureml:")
        if plain.lower() == SERVERLESS:
            return SERVERLESS
        compute = self._emulator.store.get("compute", plain.lower())
        if compute is None:
            names = ", ".join(sorted(body["name"] for body in self._emulator.store.list("compute")))
            raise user_error(
                f"{where}: there is no compute '{plain}' in workspace {self._emulator.workspace_name}. "
                f"It has: {names or 'none'}. Create it first, or use '{SERVERLESS}'.",
                "BadArgument/ComputeNotFound",
            )
        if compute["properties"]["provisioningState"] == "Failed":
            raise user_error(f"{where}: compute '{plain}' failed to be provisioned.", "BadArgument/ComputeNotUsable")
        return str(compute["name"])

    def check_uri(self, uri: str, type_: str, where: str) -> None:
        """Refuses what can never be read: unknown kinds of uri, and assets, jobs and datastores that do not exist.

        Raises:
            ServiceError: 400 or 404.
        """
        self._locate(uri, type_, where)

    def local_path(self, uri: str, type_: str, where: str) -> Path:
        """The file or folder behind the uri.

        Raises:
            ServiceError: 404 if nothing is there, 400 for a file that is not what was uploaded.
        """
        path = self._locate(uri, type_, where)
        if not path.exists():
            raise not_found(f"{where}: data at", uri, code="UserError", detail="DataNotFound")
        damaged = next(uploaded.damaged(self._emulator.store, self._emulator.blobs.root, path), None)
        if damaged is not None:
            message = f"{where}: {damaged} is damaged: its content is not what was uploaded. Upload it again."
            raise user_error(message, "BadArgument/DataDamaged")
        return path

    def accept_written(self, path: Path) -> None:
        """What a step has written there is no damage."""
        uploaded.accept(self._emulator.store, self._emulator.blobs.root, path)

    def writable_path(self, uri: str) -> Path:
        """Where an output of this datastore uri goes. Raises ServiceError: 400 or 404 for a uri of another kind."""
        container, name = datastore_path(self._emulator, uri)
        return self._emulator.blobs.path(container, name.strip("/"))

    def _locate(self, uri: str, type_: str, where: str) -> Path:
        if self._emulator.catalog.is_registry_id(uri):
            return self._emulator.catalog.model_folder(uri)
        if (asset := WORKSPACE_ASSET.fullmatch(uri)) and asset["kind"].lower() in {"data", "models"}:
            return self._workspace_asset(asset["kind"].lower() == "models", asset["name"], asset["version"], where)
        if short := SHORT.fullmatch(uri):
            return self._workspace_asset(type_ in MODEL_TYPES, short["name"], short["version"], where)
        if not uri.startswith(("azureml://", "runs:/", self._emulator.blob_url(""))):
            raise user_error(
                f"{where}: '{uri}' cannot be read by a job here. Use a local path, a data asset, a datastore uri, a "
                "registered model or a registry model.",
                "BadArgument/UnsupportedUri",
            )
        resolved, _ = resolve_uri(self._emulator, uri)
        container, name = datastore_path(self._emulator, resolved)
        name = name.strip("/")
        return self._emulator.blobs.path(container, name) if name else self._emulator.blobs.container_path(container)

    def _workspace_asset(self, is_model: bool, name: str, version: str | None, where: str) -> Path:
        kind = assets.MODELS if is_model else assets.DATA
        document = (
            assets.find_version(self._emulator, kind, name, version)
            if version
            else assets.latest_version(self._emulator, kind, name)
        )
        if document is None:
            raise not_found(
                f"{where}: {kind.title.lower()}", f"{name}:{version or 'latest'}", code="UserError", detail=kind.missing
            )
        properties = document["properties"]
        return self._locate(str(properties["modelUri" if is_model else "dataUri"]), "uri_folder", where)
