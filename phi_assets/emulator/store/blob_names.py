"""Which names containers and blobs may have, so that each of them is a path below the folder of the blobs.

https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from phi_assets.emulator.wire.errors import ServiceError

_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
_LONGEST_NAME = 1024
_LONGEST_SEGMENT = 255


def is_container(name: str) -> bool:
    """Whether a container may have this name."""
    return _CONTAINER.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raises ServiceError 400 `InvalidUri` for a name that no blob can have here."""
    segments = name.split("/")
    if (
        len(name) > _LONGEST_NAME
        or any(segment in {"", ".", ".."} or len(segment.encode()) > _LONGEST_SEGMENT for segment in segments)
        or any(character == "\\" or ord(character) < 0x20 or ord(character) == 0x7F for character in name)
    ):
        raise ServiceError(400, "InvalidUri", "The requested URI does not represent any resource on the server.")


def digest(text: str) -> str:
    """A name for the file system of what may be any text."""
    return hashlib.sha256(text.encode()).hexdigest()


def names_below(base: Path, prefix: str) -> Iterator[str]:
    """Names of the blobs in the container's folder that begin so, in no order."""
    folder = prefix.rpartition("/")[0]
    if folder:
        check_name(folder)
    for parent, _, files in os.walk(base / folder):
        for file in files:
            path = Path(parent, file)
            name = path.relative_to(base).as_posix()
            if name.startswith(prefix) and path.is_file() and _stays_inside(path, base):
                yield name


def _stays_inside(path: Path, base: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(base.resolve())
