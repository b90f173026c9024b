"""The files of registry models where a client can read them: in a container of each version."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from phi_assets.emulator.process import STORAGE_SUFFIX
from phi_assets.emulator.wire.errors import not_found
from phi_assets.emulator.workspace.catalog import Asset
from phi_assets.emulator.workspace.context import ACCOUNT, Emulator

_FOLDER = "model"
"""Where in the container the files lie: the SDK downloads a folder, not a container."""


def files_url(model: Asset) -> str:
    """The model's folder, in the form that the SDK takes apart into account, container and folder.

    Nothing has to lie there yet. Where it is read is said by the signature, as the account is at no address of its own.
    """
    return f"https://{ACCOUNT}.blob.{STORAGE_SUFFIX}/{_container(model)}/{_FOLDER}"


def lay_out(emulator: Emulator, model: Asset) -> str:
    """The container whose folder `model` holds the version's files, as the registry has them now; its name.

    Raises:
        ServiceError: 404 where the registry has none.
    """
    container = _container(model)
    if not model.folder.is_dir():
        raise not_found(f"Folder of model '{model.id}'", str(model.folder), code="UserError", detail="ModelNotFound")
    there = emulator.blobs.root / container
    if _content(there / _FOLDER) == _content(model.folder):
        return container
    emulator.blobs.create_container(container)
    with tempfile.TemporaryDirectory(dir=emulator.blobs.root, prefix=".registry-") as scratch:
        made, old = Path(scratch) / "made", Path(scratch) / "old"
        shutil.copytree(model.folder, made, copy_function=_link_or_copy, ignore=shutil.ignore_patterns("__pycache__"))
        if (there / _FOLDER).exists():
            (there / _FOLDER).rename(old)
        made.rename(there / _FOLDER)
    return container


def _container(model: Asset) -> str:
    return "registry-" + hashlib.sha256(model.id.encode()).hexdigest()[:32]


def _content(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file; what a write replaces has another time."""
    return {
        str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def _link_or_copy(source: str, target: str) -> None:
    """Gigabytes are not copied where one file can have two names: blobs are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
