"""What imports that were killed have left in the folder of the registries."""

import contextlib
import shutil
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

LOCK_FILE, STAGE_PREFIX = ".import.lock", ".import-"
IMPORT_MARK = "imported_from"
"""In the metadata of every model that an import has made."""


def clear_leftovers(registries: Path) -> None:
    """Folders that nothing names are gone, unless an import is underway."""
    if not registries.is_dir():
        return
    with contextlib.suppress(Timeout), FileLock(registries / LOCK_FILE, timeout=0, mode=0o600):
        clear_under_lock(registries)


def clear_under_lock(registries: Path) -> None:
    """As `clear_leftovers`, for whoever holds the lock."""
    for stage in registries.glob(f"{STAGE_PREFIX}*"):
        shutil.rmtree(stage, ignore_errors=True)
    for files in registries.glob("*/files"):
        named = {path for document in files.parent.glob("models/*/*.yaml") if (path := _folder(document)) is not None}
        for folder in files.iterdir():
            if _is_imported(folder) and folder.resolve() not in named:
                shutil.rmtree(folder, ignore_errors=True)
        for staged in files.parent.glob("models/*/*.tmp"):
            staged.unlink(missing_ok=True)


def _is_imported(folder: Path) -> bool:
    """Whether an import has made it; any other is the user's own."""
    definition = folder / "MLmodel"
    return definition.is_file() and IMPORT_MARK in definition.read_text(encoding="utf-8", errors="replace")


def _folder(document: Path) -> Path | None:
    try:
        spec = yaml.safe_load(document.read_text(encoding="utf-8"))
        return (document.parent / str(spec["path"])).resolve()
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None
