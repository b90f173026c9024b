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
from phi_assets.emulator.runner.pipeline.graph import Step
from phi_assets.emulator.runner.records import Records
from phi_assets.emulator.runner.references import WorkspaceResources
from phi_assets.emulator.runner.steps import StepProcess
from phi_assets.emulator.runner.wants import Release
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator

PREEMPTION = (
    "AzureMLCompute job failed. PreemptionError: The nodes of this job were pre-empted. "
    "Reason: Received pre-emption warning signal"
)
"""The form of https://github.com/MicrosoftDocs/azure-docs/issues/66288; its code is `UserError`."""

_LOOK_SECONDS = 0.05


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

    def before_running(self) -> Release | None:
        """What the job has to wait for, as Queued, before it may run."""
        return self._kept(lambda scenario: scenario.step is None)

    def while_running(self) -> None:
        """Begins, beside the steps, what happens to the status of a running job."""
        self._episodes = threading.Thread(target=self._run_episodes, name=f"episodes of {self._job}", daemon=True)
        self._episodes.start()

    def settle(self) -> None:
        """Returns when the job is Running again, or about to be canceled."""
        if self._episodes is not None:
            self._episodes.join()

    def in_queue(self, step: Step, number: int) -> Release | None:
        """What the step, which is Queued, has to wait for before it gets its nodes."""
        return self._kept(lambda scenario: _is(step, number, scenario.step))

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

    def _kept(self, accepts: Callable[[StuckQueued], bool]) -> Release | None:
        stuck = self._scenarios.take(StuckQueued, self._job, accepts=accepts)
        return Release(stuck, self._emulator) if stuck is not None else None

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


def _is(step: Step, number: int, wanted: int | str | None) -> bool:
    """Whether a scenario's `step` is this one: its number, its name, or its component's name."""
    if isinstance(wanted, str):
        return wanted.lower() in {step.name.lower(), step.component.name.lower()}
    return wanted == number
