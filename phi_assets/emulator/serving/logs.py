"""The logs of a deployment's containers, one file each, and how far its instance has got.

`az ml online-deployment get-logs` shows the latter above the former:
https://learn.microsoft.com/powershell/module/az.machinelearningservices/get-azmlworkspaceonlinedeploymentlog.
"""

import json
import logging
import shutil
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from phi_assets.emulator.serving.rules import bad_argument

INFERENCE_SERVER = "InferenceServer"
STORAGE_INITIALIZER = "StorageInitializer"

Progress = Literal["Waiting", "InProgress", "Succeeded", "Failed"]

_FILES = {INFERENCE_SERVER: "inference-server.log", STORAGE_INITIALIZER: "storage-initializer.log"}
_INSTANCE = "instance.json"
_TAIL_BYTES = 1 << 20
_EVENTS = 20
"""How many are kept: a container that is started again and again must not fill the disk."""

logger = logging.getLogger(__name__)


class Stage(StrEnum):
    """What an instance goes through until it serves."""

    SYSTEM = "SystemSetup"
    IMAGE = "UserContainerImagePull"
    MODEL = "ModelDownload"
    CONTAINER = "UserContainerStart"


class DeploymentLogs:
    """The log files of one deployment in `folder`, which only its owner can read."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def inference_server(self) -> Path:
        """Where the model's process writes to."""
        return self.folder / _FILES[INFERENCE_SERVER]

    def begin(self) -> None:
        """Empty logs for a new set of containers, for which nothing has happened yet."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FILES.values():
            (self.folder / name).write_bytes(b"")
        self._write({"stages": {stage.value: "Waiting" for stage in Stage}, "events": []})

    def progress(self, stage: Stage, progress: Progress) -> None:
        """The instance is that far with the stage."""
        instance = self._read()
        self._write(instance | {"stages": instance["stages"] | {stage.value: progress}})

    def event(self, name: str, message: str, kind: Literal["Normal", "Warning"] = "Normal") -> None:
        """Adds to the events of the instance."""
        instance = self._read()
        line = f"Kind: Pod, Name: {name}, Type: {kind}, Time: {datetime.now(UTC).isoformat()}, Message: {message}"
        self._write(instance | {"events": [*instance["events"], line][-_EVENTS:]})

    def initializer(self, message: str) -> None:
        """Adds a line to the log of the storage initializer, which brings the model into the container."""
        self._add(STORAGE_INITIALIZER, message)

    def server(self, message: str) -> None:
        """Adds a line to the log of the inference server, beside those that the model's process writes itself."""
        self._add(INFERENCE_SERVER, message)

    def tail(self, container: str, lines: int) -> str:
        """The last lines of what there is to say about a container: the instance's progress and events, then its log.

        Raises:
            ServiceError: 400 for a container that a deployment does not have.
        """
        return _last([*self._report(), *self._lines(container)], lines)

    def output(self, container: str, lines: int) -> str:
        """The last lines that the container itself wrote. Raises as `tail`."""
        return _last(self._lines(container), lines)

    def delete(self) -> None:
        """The files are gone, and with the endpoint's last deployment also its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()

    def _lines(self, container: str) -> list[str]:
        if container not in _FILES:
            raise bad_argument(f"A deployment has the containers {' and '.join(_FILES)}, not '{container}'.")
        path = self.folder / _FILES[container]
        if not path.is_file():
            return []
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").splitlines(keepends=True)

    def _report(self) -> list[str]:
        instance = self._read()
        stages = [f"{stage}: {progress}" for stage, progress in instance["stages"].items()]
        lines = ["Instance status:", *stages, "", "Container events:", *instance["events"], "", "Container logs:"]
        return [f"{line}\n" for line in lines] if stages else []

    def _add(self, container: str, message: str) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / _FILES[container]).open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {message}\n")

    def _read(self) -> dict[str, Any]:
        path = self.folder / _INSTANCE
        nothing: dict[str, Any] = {"stages": {}, "events": []}
        try:
            instance = json.loads(path.read_bytes())
            if not all(isinstance(instance[key], type(value)) for key, value in nothing.items()):
                raise ValueError("it has no stages or no events")
        except FileNotFoundError:
            return nothing
        except (ValueError, KeyError, TypeError) as error:  # the deployment itself can do without it
            logger.warning("%s is damaged and left out, until the deployment is started anew: %s", path, error)
            return nothing
        return instance

    def _write(self, instance: dict[str, Any]) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whoever reads meanwhile finds the old document or the new one.
        partial = self.folder / f"{_INSTANCE}.partial"
        partial.write_text(json.dumps(instance), encoding="utf-8")
        partial.replace(self.folder / _INSTANCE)


def _last(lines: list[str], count: int) -> str:
    return "".join(lines[-count:]) if count > 0 else ""
