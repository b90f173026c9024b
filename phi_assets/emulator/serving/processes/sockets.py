"""Addresses of the deployments' processes."""

import shutil
import tempfile
import threading
from itertools import count
from pathlib import Path

from phi_assets.emulator.store.state import Store

_DOCUMENT = ("serving", "sockets")


class SocketFolder:
    """A folder with a short path, as the system limits the paths of sockets to about 100 bytes.

    The folder of an earlier process is removed; but in a copy of a folder of state it is the original's.
    """

    def __init__(self, store: Store, *, is_copy: bool = False):
        self._store = store
        self._is_copy = is_copy
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._path: Path | None = None

    def new(self) -> Path:
        """A path that no socket of this process has had."""
        with self._lock:
            # The machine may clean its temporary folders while the emulator runs.
            if self._path is None or not self._path.is_dir():
                earlier = self._store.get(*_DOCUMENT)
                if earlier is not None and not self._is_copy:
                    shutil.rmtree(earlier["path"], ignore_errors=True)
                self._path = Path(tempfile.mkdtemp(prefix="phi-"))
                self._store.put(*_DOCUMENT, {"path": str(self._path)})
                self._is_copy = False
            return self._path / f"{next(self._numbers)}.sock"

    def delete(self) -> None:
        """The folder is gone."""
        with self._lock:
            if self._path is not None:
                shutil.rmtree(self._path, ignore_errors=True)
