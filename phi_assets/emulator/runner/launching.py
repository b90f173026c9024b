"""The processes of a job's steps: started, watched over, ended."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phi_assets.emulator.runner import records, steps
from phi_assets.emulator.runner.disturbances import Disturbances
from phi_assets.emulator.runner.failures import SERVICE_ERROR, USER_ERROR
from phi_assets.emulator.runner.pipeline.graph import Step
from phi_assets.emulator.runner.records import Records
from phi_assets.emulator.runner.runs import JobRuns
from phi_assets.emulator.runner.wants import cluster_gone, has_cluster
from phi_assets.emulator.store.failures import failure_of
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator

GRACE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Launcher:
    """Runs the steps of one job as processes, several at a time; safe for threads."""

    def __init__(
        self,
        emulator: Emulator,
        job: str,
        runs: JobRuns,
        disturbances: Disturbances,
        interrupted: threading.Event,
        cancel: Callable[[str, dict[str, Any] | None], None],
    ):
        """`interrupted` is set when no step shall run any more; `cancel` is what a timeout calls, with a reason."""
        self._emulator = emulator
        self._job = job
        self._runs = runs
        self._records = Records(emulator)
        self._disturbances = disturbances
        self._interrupted = interrupted
        self._cancel = cancel
        self._steps: dict[str, tuple[Step, steps.StepProcess | None]] = {}
        self._lost: set[str] = set()

    @contextmanager
    def underway(self, step: Step) -> Iterator[None]:
        """The step waits for a node, or runs, as long as the context lasts."""
        self._steps[step.key] = (step, None)
        try:
            yield
        finally:
            self._steps.pop(step.key, None)

    def is_lost(self, step: Step) -> bool:
        """Whether the step's cluster was deleted since it began to wait."""
        return step.key in self._lost

    def lose_cluster(self, name: str) -> None:
        """Fails the steps that wait for this cluster, which has been deleted, or run on it."""
        for step, process in list(self._steps.values()):
            if step.compute.lower() == name.lower():
                self._lost.add(step.key)
                if process is not None:
                    process.stop(self.grace_seconds)

    def stop(self) -> None:
        """Ends the process groups of the steps that run."""
        for _, process in list(self._steps.values()):
            if process is not None:
                process.stop(self.grace_seconds)

    def execute(self, step: Step, number: int, run_id: str, enter: Callable[[str], None]) -> dict[str, str] | None:
        """Runs the step, whose run goes to Running by `enter`; None if it succeeded, else the error of its run."""
        log = self._records.log_path(run_id, records.STD_LOG)
        try:
            process = self._start(step, run_id, log, enter)
        except ServiceError as error:
            return self._not_started(log, {"code": USER_ERROR, "message": error.message})
        except OSError as error:
            return self._not_started(log, self.service_error(error, f"step {run_id}"))
        self._records.change_run(run_id, process=process.id.document())
        self._steps[step.key] = (step, process)
        if step.key in self._lost or not has_cluster(self._emulator, step):  # deleted when there was no process yet
            self.lose_cluster(step.compute)
        if self._interrupted.is_set():
            process.stop(self.grace_seconds)
        blow = self._disturbances.during(step, number, process, self.grace_seconds)
        with self._limited(step.most_seconds):
            exit_code = process.wait()
        self._steps[step.key] = (step, None)
        self._runs.accept_written(step)
        self._records.keep_artifacts(run_id)
        error = blow.outcome()
        if step.key in self._lost:
            error = cluster_gone(step.compute)
        if error is None and exit_code != 0:
            error = {"code": USER_ERROR, "message": steps.failure_message(log, exit_code)}
        return error

    @property
    def grace_seconds(self) -> float:
        """How long a process may take to end by itself."""
        return GRACE_SECONDS / self._emulator.clock.scale

    def service_error(self, error: Exception, what: str) -> dict[str, str]:
        """What the machine refuses is said in words; anything else is a defect, whose trace goes to the log."""
        failure = error if isinstance(error, ServiceError) else failure_of(error, self._emulator.directory)
        if failure is None:
            logger.error("%s", what, exc_info=error)
        message = f"The emulator failed: {error if failure is None else failure.message}"
        return {"code": SERVICE_ERROR, "message": message}

    @contextmanager
    def _limited(self, seconds: float | None) -> Iterator[None]:
        """Somebody cancels the job if the context lasts longer."""
        reason = f"The job has run for longer than its timeout of {seconds} seconds"
        timer = threading.Timer(min(seconds or 0, threading.TIMEOUT_MAX), self._cancel, (reason, None))
        if seconds is not None:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _start(self, step: Step, run_id: str, log: Path, enter: Callable[[str], None]) -> steps.StepProcess:
        command = steps.shell_command(self._runs.command(step))
        if step.processes_per_node is not None:
            logs = self._records.process_logs(run_id, step.processes_per_node * step.nodes)
            command = steps.distributed(command, step.processes_per_node, logs)
        place = self._records.folder(run_id) / records.WORKING_DIRECTORY
        directory = steps.working_directory(place, step.component.code)
        environment = steps.step_environment(
            os.environ,
            run_id=run_id,
            root_run_id=self._job,
            metrics=self._records.metrics_path(run_id),
            extra=step.environment,
        )
        enter("Running")
        return steps.StepProcess(command, directory, environment, log)

    @staticmethod
    def _not_started(log: Path, error: dict[str, str]) -> dict[str, str]:
        # Where there is no room, the run's error alone says it.
        with suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(f"ERROR: {error['message']}\n")
        return error
