"""What tests of running jobs share: logs that can be waited for, jobs put into any state, and lost answers."""

import threading
from collections.abc import Callable
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.training.identity import JobRequest
from phi_assets.azureml.training.jobs import SubmittedJob
from phi_assets.azureml.training.lookup import get_job
from phi_assets.emulator.process import Connection
from phi_assets.emulator.store.state import Store

DISTURBANCES: dict[str, dict[str, Any]] = {
    "dropped before": {"action": "drop", "when": "before"},
    "dropped after": {"action": "drop", "when": "after"},
    "500 after": {"action": "status", "status": 500, "when": "after"},
    "503 before": {"action": "status", "status": 503, "when": "before"},
    "429 before": {"action": "status", "status": 429, "retry_after": 1, "when": "before"},
}
"""Faults after which a request may or may not have been processed."""


class Submissions(list[SubmittedJob]):
    """An `on_submitted` that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._first = threading.Event()

    def __call__(self, job: SubmittedJob) -> None:
        self.append(job)
        self._first.set()

    def first(self) -> SubmittedJob:
        assert self._first.wait(60), "no job was submitted"
        return self[0]


class Lines(list[str]):
    """A log that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._changed:
            self.append(line)
            self._changed.notify_all()

    def expect(self, *parts: str) -> None:
        """There is a line with all of these parts in it."""

        def is_there() -> bool:
            return any(all(part in line for part in parts) for line in self)

        with self._changed:
            assert self._changed.wait_for(is_there, 60), f"{parts} not in {self}"


def exists(ws: Workspace, request: JobRequest, attempt: int) -> bool:
    return get_job(ws, request.job_name(attempt)) is not None


def set_state(emulator: Connection, name: str, state: str) -> None:
    """Put a job into a state that the emulator's own runner never takes."""
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document | {"status": state}  # noqa: E731
    store = Store(next(emulator.directory.glob("*.sqlite*")))
    for kind in ("run", "job"):
        assert store.update(kind, name, change) is not None
