"""What the registries hold: models, components and environments, read from YAML in Azure ML's own schema."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from phi_assets.emulator.wire.errors import ServiceError, not_found
from phi_assets.emulator.workspace.model_metadata import MetadataStyle

KINDS = ("models", "components", "environments")
LATEST = "latest"

_ID = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/(?P<kind>models|components|environments)/(?P<name>[^/]+)/"
    r"(?:versions/(?P<version>[^/]+)|labels/(?P<label>[^/]+))/?",
    re.IGNORECASE,
)
_SHORT = re.compile(r"azureml:(?P<name>[^/:@]+)(?::(?P<version>[^/:@]+)|@(?P<label>[^/:@]+))")
_WITHOUT_DATE = datetime(2024, 1, 1, tzinfo=UTC)
_MISSING = {"models": "ModelNotFound", "components": "ComponentNotFound", "environments": "EnvironmentNotFound"}


@dataclass(frozen=True)
class Asset:
    """One version of a registry asset and the YAML document that describes it."""

    registry: str
    kind: str
    name: str
    version: str
    spec: dict[str, Any]
    file: Path

    @property
    def id(self) -> str:
        """`azureml://registries/{registry}/{kind}/{name}/versions/{version}`."""
        return f"azureml://registries/{self.registry}/{self.kind}/{self.name}/versions/{self.version}"

    @property
    def created(self) -> datetime:
        """`creation_context.created_at` of the document; documents without it count as older than those with it."""
        value = (self.spec.get("creation_context") or {}).get("created_at")
        if value is None:
            return _WITHOUT_DATE
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @property
    def archived(self) -> bool:
        """Whether listings leave it out unless asked for archived assets too."""
        return bool(self.spec.get("isArchived", False))

    @property
    def folder(self) -> Path:
        """The files that `path:` names, relative to the document."""
        return (self.file.parent / str(self.spec.get("path", "."))).resolve()


Assets = list[Asset]


class Catalog:
    """The registries under `folders`; where two folders hold the same version, the later folder's counts.

    Layout: `<registry>/<kind>/<name>/<version>.yaml`. A `<registry>/registry.yaml` may hold `include: [<registry>]`:
    then components and environments of those registries are there too, under this registry's own ids; `models:
    [<registry>]` does the same for models, and `metadata` says how this registry describes them.
    """

    def __init__(self, folders: Sequence[Path]):
        self.folders = [Path(folder) for folder in folders]

    def registries(self) -> list[str]:
        """Names of all registries."""
        found: set[str] = set()
        for folder in self.folders:
            for file in [
                *folder.glob("*/registry.yaml"),
                *(f for kind in KINDS for f in folder.glob(f"*/{kind}/*/*.yaml")),
            ]:
                found.add(file.relative_to(folder).parts[0])
        return sorted(found)

    def model_folder(self, model_id: str) -> Path:
        """The model's files.

        Raises:
            ServiceError: 400 if `model_id` is not the id of a registry model, 404 if there is no such model or its
                folder is missing.
        """
        model = self.resolve(model_id, kind="models")
        if not model.folder.is_dir():
            raise not_found(
                f"Folder of model '{model.id}'", str(model.folder), code="UserError", detail="ModelNotFound"
            )
        return model.folder

    def names(self, kind: str, registry: str) -> list[str]:
        """Names of the registry's assets of this kind."""
        return sorted({name for name, _ in self._files(kind, registry)})

    def versions(self, kind: str, registry: str, name: str) -> Assets:
        """All versions of an asset, the newest first: by creation time, then by version number."""
        found: dict[str, Asset] = {}
        for candidate, file in self._files(kind, registry):
            if candidate == name:
                found[file.stem] = Asset(registry, kind, name, file.stem, _load(file, file.stat().st_mtime_ns), file)
        return sorted(found.values(), key=lambda asset: (asset.created, version_key(asset.version)), reverse=True)

    def resolve(self, reference: str, *, kind: str, registry: str | None = None) -> Asset:
        """The asset that an id means, or within `registry` also `azureml:<name>:<version>` and `azureml:<name>@latest`.

        Raises:
            ServiceError: 400 if `reference` has another form or another kind, 404 if there is no such asset.
        """
        match = _ID.fullmatch(reference)
        if match is None and registry is not None:
            match = _SHORT.fullmatch(reference)
        if match is None or match.groupdict().get("kind", kind).lower() != kind:
            raise ServiceError(
                400,
                "UserError",
                f"'{reference}' is not the id of a registry's {kind.removesuffix('s')} "
                f"(azureml://registries/<registry>/{kind}/<name>/versions/<version>).",
            )
        where = match.groupdict().get("registry") or registry or ""
        return self.get(kind, where, match["name"], match["version"], match["label"])

    def is_registry_id(self, reference: str) -> bool:
        """Whether `reference` has the form of a registry asset's id."""
        return _ID.fullmatch(reference) is not None

    def get(self, kind: str, registry: str, name: str, version: str | None, label: str | None = None) -> Asset:
        """The asset of this version, or the newest one by the label `latest`. Raises ServiceError: 404 `UserError`."""
        versions = self.versions(kind, registry, name)
        for asset in versions:
            if asset.version == version or (version is None and (label or "").lower() == LATEST):
                return asset
        wanted = f"{name}:{version}" if version is not None else f"{name}@{label}"
        known = f" It has: {', '.join(asset.version for asset in versions)}." if versions else ""
        what = kind.removesuffix("s").capitalize()
        message = f"{what} container with name: {name} not found." if not versions else f"{what} {wanted} not found."
        message = f"{message} Registry '{registry}' has no such {what.lower()} '{wanted}'.{known}"
        raise ServiceError(
            404,
            "UserError",
            message,
            details=[{"code": _MISSING[kind], "message": message, "details": [], "additionalInfo": []}],
            inner={"code": "NotFoundError", "innerError": None},
        )

    def metadata_style(self, registry: str) -> MetadataStyle:
        """How the registry writes what it says of a model."""
        style = MetadataStyle()
        for settings in self._settings(registry):
            given = {"layout": settings.get("metadata"), "field": settings.get("metadata_field")}
            style = replace(style, **{name: value for name, value in given.items() if value})
        return style

    def _files(self, kind: str, registry: str) -> list[tuple[str, Path]]:
        files: list[tuple[str, Path]] = []
        if not _is_plain(registry):
            return files
        for source in [*self._included(registry, kind), registry]:
            for folder in self.folders:
                base = folder / source / kind
                files += [(file.parent.name, file) for file in sorted(base.glob("*/*.yaml"))]
        return files

    def _included(self, registry: str, kind: str) -> list[str]:
        key = "models" if kind == "models" else "include"
        sources = [str(name) for settings in self._settings(registry) for name in settings.get(key, [])]
        return [source for source in sources if _is_plain(source) and source != registry]

    def _settings(self, registry: str) -> Iterator[dict[str, Any]]:
        for folder in self.folders:
            file = folder / registry / "registry.yaml"
            if file.is_file():
                yield _load(file, file.stat().st_mtime_ns)


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Orders `0.0.9` before `0.0.10`, and numbers before words."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"[.\-_+]", version) if part
    )


def _is_plain(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name))


@lru_cache(maxsize=512)
def _load(file: Path, _modified: int) -> dict[str, Any]:
    """Parsed again only when the file changed: the pipeline component alone takes 30 ms."""
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ServiceError(500, "InternalServerError", f"Registry file {file} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ServiceError(500, "InternalServerError", f"Registry file {file} does not hold a mapping.")
    return document
