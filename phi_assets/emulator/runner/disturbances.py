"""What the scenarios in force do to one job, at the points of its way where they can."""

import shutil
import threading
from collections.abc import Callable, Mapping
from typing import Any

from phi_assets.emulator.chaos.kinds import (
    CompletedWithoutOutput,
    JobCanceled,
    JobFailed,
    NotResponding,
    OutputPathsIgnored,
    Preempted,
    StuckQueued,
    UnknownStatus,
)
from phi_assets.emulator.chaos.scenarios import Armed
from phi_assets.emulator.runner.failures import USER_ERROR
from phi_assets.emulator.runner.pipeline.graph import SERVERLESS, Step
from phi_assets.emulator.runner.records import Records
from phi_assets.emulator.runner.references import WorkspaceResources
from phi_assets.emulator.runner.steps import StepProcess
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator

PREEMPTION = (
    "AzureMLCompute job failed. PreemptionError: The nodes of this job were pre-empted. "
    "Reason: Received pre-emption warning signal"
)
"""The form of https://github.com/MicrosoftDocs/azure-docs/issues/66288; its code is `UserError`."""

# https://github.com/Azure/MachineLearningNotebooks/issues/906 and 1043.
_CLUSTER_GONE = "AzureMLCompute cluster {} does not exist"
_CLUSTER_FAILED = "AzureMLCompute cluster {} is in failed state and thus not ready for runs"

_LOOK_SECONDS = 0.05


def cluster_gone(name: str) -> dict[str, str]:
    """The error of a step whose cluster was deleted."""
    return {"code": USER_ERROR, "message": _CLUSTER_GONE.format(name)}


class Disturbances:
    """Looks for scenarios that concern the job, takes them and lets them happen.

    `interrupted` is set when the job is canceled or the emulator stops; `cancel` is how somebody else cancels the job.
    """

    def __init__(
        self,
        emulator: Emulator,
        job: str,
        records: Records,
        interrupted: threading.Event,
        cancel: Callable[[str, dict[str, Any]], None],
    ):
        self._emulator = emulator
        self._scenarios = emulator.scenarios
        self._job = job
        self._records = records
        self._interrupted = interrupted
        self._cancel = cancel
        self._episodes: threading.Thread | None = None

    def while_preparing(self) -> dict[str, str] | None:
        """The error with which the job fails before it has run anything."""
        failed = self._scenarios.take(JobFailed, self._job, accepts=lambda scenario: scenario.step is None)
        return {"code": failed.scenario.code, "message": failed.scenario.message} if failed else None

    def before_running(self, queue: Callable[[], None]) -> None:
        """Returns when the job may run; `queue` is called first if it has to wait, as Queued."""
        stuck = self._scenarios.take(StuckQueued, self._job, accepts=lambda scenario: scenario.step is None)
        if stuck is not None:
            queue()
            self._wait(stuck, stuck.scenario.seconds)

    def while_running(self) -> None:
        """Begins, beside the steps, what happens to the status of a running job."""
        self._episodes = threading.Thread(target=self._run_episodes, name=f"episodes of {self._job}", daemon=True)
        self._episodes.start()

    def settle(self) -> None:
        """Returns when the job is Running again, or about to be canceled."""
        if self._episodes is not None:
            self._episodes.join()

    def in_queue(self, step: Step, number: int) -> dict[str, str] | None:
        """Returns when the step, which is Queued, has a node (or is interrupted); the error if it never can have one.

        It waits on a cluster that is being made, may have no nodes (`max_nodes` 0), or gets none by a scenario.
        """
        stuck = self._scenarios.take(StuckQueued, self._job, accepts=lambda scenario: _is(step, number, scenario.step))
        if stuck is not None:
            self._wait(stuck, stuck.scenario.seconds)
        while not self._interrupted.is_set():
            if not self.has_cluster(step):
                return cluster_gone(step.compute)
            compute = self._emulator.store.get("compute", step.compute.lower())
            if compute is not None and compute["properties"]["provisioningState"] == "Failed":
                return {"code": USER_ERROR, "message": _CLUSTER_FAILED.format(step.compute)}
            tier = compute["properties"]["properties"]["vmPriority"] if compute else None
            held = self._scenarios.hold(step.compute, tier, self._emulator.clock)
            if held is None and (compute is None or _may_have_nodes(compute)):
                return None
            self._interrupted.wait(_LOOK_SECONDS)
        return None

    def has_cluster(self, step: Step) -> bool:
        """Whether the step's cluster exists; serverless compute always does."""
        return step.compute == SERVERLESS or self._emulator.store.get("compute", step.compute.lower()) is not None

    def during(self, step: Step, number: int, process: StepProcess, grace_seconds: float) -> "Blow":
        """Watches over a process that has just been started; its `error` tells, afterwards, what ended it."""
        armed = self._scenarios.take(
            Preempted, self._job, accepts=lambda scenario: _is(step, number, scenario.step)
        ) or self._scenarios.take(JobFailed, self._job, accepts=lambda scenario: _is(step, number, scenario.step))
        return Blow(self._emulator, armed, process, grace_seconds)

    def heard(self, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the service takes of the job's `outputs`: all, or all but where they are to lie."""
        if self._scenarios.take(OutputPathsIgnored, self._job) is None:
            return outputs
        return {name: {**(value or {}), "uri": None} for name, value in outputs.items()}

    def before_completion(self, outputs: dict[str, Any], resources: WorkspaceResources) -> None:
        """Empties the folders of the job's outputs if that is what shall happen."""
        if self._scenarios.take(CompletedWithoutOutput, self._job) is None:
            return
        for output in outputs.values():
            path = resources.writable_path(output["uri"])
            if path.is_dir():
                shutil.rmtree(path)
                path.mkdir()
            else:
                path.unlink(missing_ok=True)

    def _run_episodes(self) -> None:
        for kind in (NotResponding, UnknownStatus):
            armed = self._scenarios.take(kind, self._job)
            if armed is None:
                continue
            if self._wait(armed, armed.scenario.after):
                return
            if armed.cleared.is_set():
                continue
            if not self._records.set_status(self._job, armed.scenario.status):
                return
            if self._wait(armed, armed.scenario.seconds) or not self._records.set_status(self._job, "Running"):
                return
        canceled = self._scenarios.take(JobCanceled, self._job)
        if canceled is None or self._wait(canceled, canceled.scenario.seconds):
            return
        if not canceled.cleared.is_set():
            self._cancel_as(canceled)

    def _cancel_as(self, canceled: Armed[JobCanceled]) -> None:
        author = {
            "userObjectId": None,
            "userTenantId": self._emulator.auth.tenant_id,
            "userName": canceled.scenario.by,
        }
        try:
            self._cancel(canceled.scenario.reason, author)
        except ServiceError:
            self._scenarios.give_back(canceled)  # it had ended by itself

    def _wait(self, armed: Armed[Any], seconds: float | None) -> bool:
        """Waits until the time is over or the scenario is cleared; True if the job was interrupted meanwhile."""
        left = None if seconds is None else armed.scenario.real(seconds, self._emulator.clock)
        while not armed.cleared.is_set() and (left is None or left > 0):
            if self._interrupted.wait(_LOOK_SECONDS if left is None else min(left, _LOOK_SECONDS)):
                return True
            left = None if left is None else left - _LOOK_SECONDS
        return self._interrupted.is_set()


class Blow:
    """What ends a running step before its time, if `armed` is a scenario that does."""

    def __init__(
        self,
        emulator: Emulator,
        armed: Armed[Preempted] | Armed[JobFailed] | None,
        process: StepProcess,
        grace_seconds: float,
    ):
        self._emulator = emulator
        self._armed = armed
        self._process = process
        self._grace_seconds = grace_seconds
        self._over = threading.Event()
        self._struck = False
        self._thread = threading.Thread(target=self._strike, name="blow", daemon=True)
        if armed is not None:
            self._thread.start()

    def outcome(self) -> dict[str, str] | None:
        """To be asked once the process has ended: the error if it was struck, None if it ended by itself."""
        if self._armed is None:
            return None
        self._over.set()
        self._thread.join()
        if not self._struck:
            self._emulator.scenarios.give_back(self._armed)
            return None
        scenario = self._armed.scenario
        if isinstance(scenario, Preempted):
            return {"code": USER_ERROR, "message": PREEMPTION}
        return {"code": scenario.code, "message": scenario.message}

    def _strike(self) -> None:
        assert self._armed is not None
        scenario = self._armed.scenario
        # At once means at once, even if the process is quicker than this thread.
        if scenario.seconds:
            ended = self._over.wait(scenario.real(scenario.seconds, self._emulator.clock))
            if ended or self._armed.cleared.is_set():
                return
        self._struck = True
        self._process.stop(self._grace_seconds)


def _may_have_nodes(compute: Mapping[str, Any]) -> bool:
    properties = compute["properties"]
    most = properties["properties"]["scaleSettings"]["maxNodeCount"]
    return properties["provisioningState"] not in {"Creating", "Deleting"} and most > 0


def _is(step: Step, number: int, wanted: int | str | None) -> bool:
    """Whether a scenario's `step` is this one: its number, its name, or its component's name."""
    if isinstance(wanted, str):
        return wanted.lower() in {step.name.lower(), step.component.name.lower()}
    return wanted == number
