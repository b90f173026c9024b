"""The logs of a deployment's containers, one file each."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from phi_assets.emulator.serving.rules import bad_argument

INFERENCE_SERVER = "InferenceServer"
STORAGE_INITIALIZER = "StorageInitializer"

_FILES = {INFERENCE_SERVER: "inference-server.log", STORAGE_INITIALIZER: "storage-initializer.log"}
_TAIL_BYTES = 1 << 20


class DeploymentLogs:
    """The log files of one deployment in `folder`, which only its owner can read."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def inference_server(self) -> Path:
        """Where the model's process writes to."""
        return self.folder / _FILES[INFERENCE_SERVER]

    def begin(self) -> None:
        """Empty logs for a new set of containers."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FILES.values():
            (self.folder / name).write_bytes(b"")

    def initializer(self, message: str) -> None:
        """Adds a line to the log of the storage initializer, which brings the model into the container."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / _FILES[STORAGE_INITIALIZER]).open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {message}\n")

    def tail(self, container: str, lines: int) -> str:
        """The last lines of a container's log, at most one MiB of them.

        Raises:
            ServiceError: 400 for a container that a deployment does not have.
        """
        if container not in _FILES:
            raise bad_argument(f"A deployment has the containers {' and '.join(_FILES)}, not '{container}'.")
        path = self.folder / _FILES[container]
        if lines <= 0 or not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            content = file.read().decode("utf-8", errors="replace")
        return "".join(content.splitlines(keepends=True)[-lines:])

    def delete(self) -> None:
        """The files are gone, and with the endpoint's last deployment also its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
