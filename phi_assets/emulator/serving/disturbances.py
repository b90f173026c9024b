"""What the scenarios in force do to deployments: to the operations on them, and to those that are live."""

import threading
from collections.abc import Callable

from phi_assets.emulator.chaos.kinds import DeploymentDelayed, DeploymentFailed, DeploymentUnhealthy
from phi_assets.emulator.chaos.model_kinds import ModelCrashes, ServedByFoundationContainer
from phi_assets.emulator.serving.failures import fail
from phi_assets.emulator.serving.front.ailments import Ailments
from phi_assets.emulator.serving.inference.flavours import FOUNDATION, Flavour
from phi_assets.emulator.serving.logs import DeploymentLogs
from phi_assets.emulator.serving.processes.model_process import Crash, Stopped
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.workspace.context import Emulator


class DeploymentDisturbances:
    """Looks for scenarios that concern a deployment, takes them and lets them happen.

    `break_down(document, state)` ends a live deployment's process for good and shows `state`.
    """

    def __init__(self, emulator: Emulator, break_down: Callable[[Document, str], None], stopping: threading.Event):
        self._emulator = emulator
        self._scenarios = emulator.scenarios
        self._break_down = break_down
        self._stopping = stopping

    def during_operation(self, document: Document, canceled: threading.Event, logs: DeploymentLogs) -> None:
        """Takes the time, and fails with the error, that an operation on the deployment shall; `logs` tell of it.

        Raises:
            ServiceError: with the code of the scenario.
            Stopped: `canceled` was set meanwhile.
        """
        delayed = self._scenarios.take(DeploymentDelayed, *_names(document))
        if delayed is not None:
            scenario = delayed.scenario
            if canceled.wait(scenario.real(scenario.seconds, self._emulator.clock)):
                raise Stopped
        failed = self._scenarios.take(DeploymentFailed, *_names(document))
        if failed is not None:
            raise fail(failed.scenario.scenario, document, failed.scenario.message, logs)

    def flavour(self, document: Document) -> Flavour | None:
        """How the process that is started now shall answer; None: as its model says."""
        return FOUNDATION if self._scenarios.take(ServedByFoundationContainer, *_names(document)) else None

    def at_load(self, document: Document) -> Crash | None:
        """How the process that is started now shall fail to load its model."""
        crashes = self._scenarios.take(ModelCrashes, *_names(document))
        if crashes is None:
            return None
        scenario = crashes.scenario
        return Crash(scenario.message, scenario.real(scenario.seconds, self._emulator.clock))

    def ailments(self, document: Document) -> Ailments:
        """What the model of the process that is about to be put into service suffers from."""
        found = Ailments(self._scenarios, self._emulator.clock)
        found.catch(*_names(document))
        return found

    def while_live(self, document: Document, ailments: Ailments) -> None:
        """Lets a live deployment misbehave at once, and break down in its time, if it shall."""
        ailments.catch(*_names(document))
        unhealthy = self._scenarios.take(DeploymentUnhealthy, *_names(document))
        if unhealthy is None:
            return
        scenario = unhealthy.scenario

        def strike() -> None:
            if not self._stopping.wait(scenario.real(scenario.seconds, self._emulator.clock)):
                self._break_down(document, scenario.state)

        threading.Thread(target=strike, name=f"break down {document['name']}", daemon=True).start()


def _names(document: Document) -> tuple[str, str]:
    return document["name"], f"{document['endpoint']}/{document['name']}"
