"""The folder of an emulator's state: its owner's only, with room, and known from its copies.

Imported by whoever needs a running emulator, so it imports nothing of the server.
"""

import contextlib
import os
from pathlib import Path

from filelock import FileLock, Timeout

from phi_assets.config.settings import emulator_home

LOCK_FILE = "serve.lock"

_LEAST_ROOM = 1 << 20


def make_private(directory: Path) -> None:
    """The folder is there and its owner's only, and so is `PHI_HOME` where it lies in it, also if they were before.

    Raises:
        OSError: it cannot be made.
    """
    home = emulator_home(os.environ).resolve()
    for folder in [home, directory] if directory.parent == home else [directory]:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # it belongs to somebody else, who decides
            folder.chmod(0o700)


def folder_id(directory: Path) -> str:
    """What a folder keeps when it is moved, and its copy does not have."""
    status = directory.stat()
    return f"{status.st_dev}:{status.st_ino}"


def require_room(directory: Path) -> None:
    """Raises OSError where what a start writes would find no room."""
    probe = directory / ".room"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_LEAST_ROOM))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def is_served(directory: Path) -> bool:
    """Whether a server has the folder, by its lock; True where that cannot be looked at."""
    try:
        with FileLock(directory / LOCK_FILE, timeout=0, mode=0o600):
            return False
    except (Timeout, OSError):  # a folder that can only be read
        return True
