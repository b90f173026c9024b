"""What the scenarios in force do to deployments: to the operations on them, and to those that are live."""

import threading
from collections.abc import Callable

from phi_assets.emulator.context import Emulator
from phi_assets.emulator.errors import ServiceError
from phi_assets.emulator.model_scenarios import ModelCrashes
from phi_assets.emulator.scenario_kinds import DeploymentDelayed, DeploymentFailed, DeploymentUnhealthy
from phi_assets.emulator.serving.ailments import Ailments
from phi_assets.emulator.serving.process import Crash, Stopped
from phi_assets.emulator.state import Document
from phi_assets.emulator.vm_sizes import VM_SIZES

_TROUBLESHOOTING = "https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints"

# Status and text of each code; the texts are ours, the causes those of the page above.
_FAILURES = {
    "OutOfQuota": (
        400,
        "Not enough quota for the deployment: {cores} more cores of the family of {size} are needed and 0 are left.",
    ),
    "ImageBuildFailure": (400, "The image of the deployment's environment could not be built: its build ended failed."),
    "SecretsInjectionError": (400, "A secret of the deployment could not be read or injected."),
    "BadArgument": (400, "The deployment cannot be started with these settings: its model could not be downloaded."),
    "ResourceNotReady": (400, "User container has crashed or terminated, or is not ready: see the deployment's logs."),
    "ResourceNotFound": (404, "A resource that the deployment needs was not found in Azure Resource Manager."),
    "OperationCanceled": (409, "The operation was canceled by another one with a higher priority. Try again."),
    "InternalServerError": (500, "The service failed to process the request. Try again."),
}


class DeploymentDisturbances:
    """Looks for scenarios that concern a deployment, takes them and lets them happen.

    `break_down(document, state)` ends a live deployment's process for good and shows `state`.
    """

    def __init__(self, emulator: Emulator, break_down: Callable[[Document, str], None], stopping: threading.Event):
        self._emulator = emulator
        self._scenarios = emulator.scenarios
        self._break_down = break_down
        self._stopping = stopping

    def during_operation(self, document: Document, canceled: threading.Event) -> None:
        """Takes the time, and fails with the error, that an operation on the deployment shall.

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
            code = failed.scenario.scenario
            status, text = _FAILURES[code]
            size = VM_SIZES[document["properties"]["instanceType"].lower()]
            text = (
                f"{text.format(size=size.name, cores=size.cores * document['sku']['capacity'])} See {_TROUBLESHOOTING}"
            )
            raise ServiceError(status, code, failed.scenario.message or text)

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
