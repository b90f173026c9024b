"""Files that other processes of this user read while we write them, and that nobody else may read."""

import os
import tempfile
from pathlib import Path


def write_secret(path: Path, content: bytes) -> None:
    """Replaces the file atomically by one that only its owner can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(staged).replace(path)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise
