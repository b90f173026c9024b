"""A deployment that can answer."""

import threading
import time
from dataclasses import dataclass

from phi_assets.emulator.serving.front.ailments import Ailments
from phi_assets.emulator.serving.front.gate import Gate
from phi_assets.emulator.serving.processes.workers import WorkerPool
from phi_assets.emulator.serving.rules import DeploymentSettings

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Target:
    """The processes of a deployment, what its model suffers from, and the gate before it."""

    deployment: str
    workers: WorkerPool
    settings: DeploymentSettings
    gate: Gate
    ailments: Ailments

    def drain(self, stopping: threading.Event) -> None:
        """Lets nobody in any more, and returns when those inside have their answers, or `stopping` is set.

        A request takes no longer than the request timeout, so this does not either.
        """
        self.gate.close()
        deadline = time.monotonic() + self.settings.request_timeout
        while self.gate.pending and time.monotonic() < deadline and not stopping.wait(_POLL_SECONDS):
            continue
