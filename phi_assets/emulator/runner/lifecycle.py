"""All jobs of the emulator: started, canceled, and accounted for after a crash."""

import itertools
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from phi_assets.emulator.runner import steps
from phi_assets.emulator.runner.documents import COMMAND
from phi_assets.emulator.runner.execution import Course, Execution
from phi_assets.emulator.runner.failures import SERVICE_ERROR
from phi_assets.emulator.runner.launching import GRACE_SECONDS
from phi_assets.emulator.runner.pipeline.command import command_graph
from phi_assets.emulator.runner.pipeline.graph import Graph
from phi_assets.emulator.runner.pipeline.resolve import resolve
from phi_assets.emulator.runner.queue import Queue
from phi_assets.emulator.runner.records import CANCEL_REQUESTED, TERMINAL, Records, Run
from phi_assets.emulator.runner.references import WorkspaceResources
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.processes import ProcessId

_STOPPED = "The emulator was stopped while the job was running. Submit the job again."
_DIED = "The emulator ended unexpectedly while the job was running. Submit the job again."
_JOIN_SECONDS = 15.0
_WAITING = frozenset({"NotStarted", "Queued", "Preparing", "Starting"})
"""The statuses of a run on which nothing has been spent yet."""

logger = logging.getLogger(__name__)


class JobRunner:
    """Executes jobs, each course of one in a thread of its own while it does not wait.

    As many steps run at a time as there are processors, and on a cluster as many as it may have nodes for. What has to
    wait goes on in the order in which the jobs were submitted.
    """

    def __init__(self, emulator: Emulator):
        self._emulator = emulator
        self._records = Records(emulator)
        self._resources = WorkspaceResources(emulator)
        self._places = threading.Semaphore(os.cpu_count() or 1)
        self._queue = Queue(emulator.workers)
        self._ranks = itertools.count()
        self._lock = threading.Lock()
        self._executions: dict[str, Execution] = {}

    def validate(self, properties: Mapping[str, Any]) -> Graph:
        """The job's graph, with every component, input, compute and asset checked.

        Raises:
            ServiceError: naming what is wrong.
        """
        if properties.get("jobType") == COMMAND:
            return command_graph(properties, self._resources)
        return resolve(properties, self._resources)

    def submit(self, name: str, graph: Graph | None = None) -> None:
        """Starts the job whose document and root run exist, with status NotStarted; `graph` is what `validate` gave."""
        job = self._records.job(name)
        assert job is not None, f"job {name} has no document"
        graph = graph or self.validate(job["properties"])
        execution = Execution(
            self._emulator,
            name,
            graph,
            job["properties"].get("outputs") or {},
            self._queue,
            next(self._ranks),
            self._places,
            partial(self.cancel, name),
            partial(self._go_on, name),
            may_reuse=_may_reuse(job["properties"]),
        )
        with self._lock:
            self._executions[name] = execution
        execution.start()

    def cancel(self, name: str, reason: str | None = None, author: Mapping[str, Any] | None = None) -> None:
        """Requests the end of the job: CancelRequested now, Canceled once its process group is gone.

        `author` is who asks for it, as the run history shows people. A repeated request changes nothing.

        Raises:
            ServiceError: 400 `CancelPipelineRunInTerminalStatus` if it has ended.
        """
        fields = {"cancelation_reason": reason, "modified_by": author}
        if not self._records.set_status(name, CANCEL_REQUESTED, **fields):
            status = (self._records.run(name) or {}).get("status", "Unknown")
            if status != CANCEL_REQUESTED:
                raise user_error(
                    f"Job '{name}' is in terminal status {status} and cannot be canceled.",
                    "BadArgument/ArgumentInvalid/CancelPipelineRunInTerminalStatus",
                )
        with self._lock:
            execution = self._executions.get(name)
        if execution is not None:  # first, so that a store that fails keeps nothing running
            self._emulator.workers.start(f"cancel {name}", execution.cancel)
        for child in self._records.family(name):
            if child["run_id"] != name:
                self._records.set_status(child["run_id"], CANCEL_REQUESTED)
        if execution is None:
            self._end(name, "Canceled", None)

    def lose_cluster(self, name: str) -> None:
        """Fails the steps that run on this cluster, which has been deleted, or wait for it, and so their jobs."""
        with self._lock:
            running = list(self._executions.values())
        for execution in running:
            execution.lose_cluster(name)

    def wait(self, name: str) -> None:
        """Returns when the job has ended (at once if it has)."""
        with self._lock:
            execution = self._executions.get(name)
        if execution is not None:
            execution.ended.wait()

    def recover(self) -> None:
        """Takes up what an earlier process of the emulator left unfinished.

        A job that waited waits again, in its old place. Of others the children are ended, and they become Failed, or
        Canceled if that had been requested, and the operation that waited for it Succeeded. In a copied folder the
        processes and the jobs that wait are the original's: none is ended there, and none goes on.
        """
        self._records.index()
        for job in self._emulator.store.list("job"):
            if job["status"] in TERMINAL:
                continue
            family = self._records.family(job["name"])
            for run in family:
                if run["process"] and not self._emulator.home.is_copy:
                    steps.end_group(ProcessId(**run["process"]), GRACE_SECONDS / self._emulator.clock.scale)
            if job["status"] == CANCEL_REQUESTED:
                self._end(job["name"], "Canceled", None)
            elif _waits(job["name"], family) and not self._emulator.home.is_copy:
                self._take_up(job["name"])
            else:
                self._end(job["name"], "Failed", {"code": SERVICE_ERROR, "message": _DIED})
        operations.settle_kind(self._emulator, operations.JOB_CANCELLATION)

    def shutdown(self) -> None:
        """Ends all running jobs; they become Failed, saying that the emulator was stopped. Those that wait are left."""
        self._queue.close()
        with self._lock:
            running = dict(self._executions)
        for name, execution in running.items():
            self._emulator.workers.start(f"stop {name}", partial(execution.abandon, _STOPPED))
        deadline = time.monotonic() + _JOIN_SECONDS
        for execution in running.values():
            execution.ended.wait(max(deadline - time.monotonic(), 0))

    def _go_on(self, name: str, execution: Execution, course: Course) -> None:
        self._emulator.workers.start(f"job {name}", partial(self._advance, name, execution, course))

    def _advance(self, name: str, execution: Execution, course: Course) -> None:
        """Runs part of the job until it has ended, or has to wait."""
        try:
            while (claim := course.advance()) is not None:
                if not self._queue.admits(claim, partial(self._go_on, name, execution, course), course.leave):
                    return
        except ServiceError as error:  # there was no room, and now the emulator stops
            logger.warning("job %s is left to the next start: %s", name, error)
        if execution.ended.is_set():
            with self._lock:
                self._executions.pop(name, None)

    def _take_up(self, name: str) -> None:
        try:
            self.submit(name)
        except ServiceError as error:  # what it was to use is gone
            self._end(name, "Failed", {"code": error.code, "message": error.message})

    def _end(self, name: str, status: str, error: dict[str, Any] | None) -> None:
        for run in reversed(self._records.family(name)):
            self._records.set_status(run["run_id"], status, error=run["error"] or error)
        # A crash between two documents leaves a job whose run had ended, or whose run was never written.
        ended = (self._records.run(name) or {}).get("status", status)
        self._emulator.store.update("job", name, lambda job: job | {"status": ended})


def _may_reuse(properties: Mapping[str, Any]) -> bool:
    """Whether the job takes over steps that have been done before: a pipeline that does not forbid it."""
    settings = properties.get("settings") or {}
    return properties.get("jobType") != COMMAND and str(settings.get("force_rerun")).lower() != "true"


def _waits(name: str, family: Sequence[Run]) -> bool:
    """Whether nothing of the job was running, so that it can go on as if nothing had happened."""
    unfinished = [run for run in family if run["status"] not in TERMINAL]
    is_ending = any(run["run_id"] == name and run["status"] == "Finalizing" for run in unfinished)
    steps_ = [run for run in unfinished if run["compute"] is not None]
    return bool(unfinished) and not is_ending and all(run["status"] in _WAITING for run in steps_)
