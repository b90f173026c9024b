"""The files of registered models: what they were when the model was registered, so that damage is noticed."""

import hashlib
from functools import lru_cache
from pathlib import Path

from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator

_KIND = "model_files"


def remember_files(emulator: Emulator, name: str, version: str, root: Path) -> None:
    """Keeps the SHA-256 of each file of the version, which lie below `root` or are that one file."""
    emulator.store.put(_KIND, f"{name}/{version}", {"files": _digests(root)})


def require_same_files(emulator: Emulator, name: str, version: str, root: Path) -> None:
    """Raises ServiceError 400 if a file of the version is gone, or is not what it was when the version was registered.

    Versions that were registered before files were remembered pass.
    """
    kept = emulator.store.get(_KIND, f"{name}/{version}")
    if kept is None:
        return
    present = _digests(root)
    for file, digest in kept["files"].items():
        if present.get(file) != digest:
            what = "is gone" if file not in present else "has changed since the model was registered"
            place = root if root.is_file() else root / file
            message = (
                f"{place} of model {name}:{version} {what}. Put the file back, or register what is there as another "
                "version."
            )
            raise ServiceError(400, "ModelFilesDamaged", message)


def _digests(root: Path) -> dict[str, str]:
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): _digest_of(path) for path in files}


def _digest_of(path: Path) -> str:
    status = path.stat()
    return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest(path: Path, *_: int) -> str:
    """Read again only when the file has been written: a model may have gigabytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
