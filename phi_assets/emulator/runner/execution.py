"""One job on its way: its steps in order, each through its states, to one end."""

import logging
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phi_assets.emulator.runner import records, steps
from phi_assets.emulator.runner.disturbances import Disturbances
from phi_assets.emulator.runner.failures import SERVICE_ERROR, USER_ERROR, Failure, error_of_job
from phi_assets.emulator.runner.pipeline.graph import Graph, Step
from phi_assets.emulator.runner.queue import Claim, Interrupted, Queue, Want
from phi_assets.emulator.runner.records import CANCEL_REQUESTED, Records
from phi_assets.emulator.runner.references import WorkspaceResources
from phi_assets.emulator.runner.runs import JobRuns
from phi_assets.emulator.runner.wants import Node, Processor, cluster_gone, has_cluster
from phi_assets.emulator.store.failures import failure_of
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator

GRACE_SECONDS = 5.0

# Seconds at time scale 1; of a step those in the queue first. The first step of a job waits for its node, later ones
# find it warm.
_NOT_BEGUN = frozenset({"NotStarted", "Preparing", "Queued"})
_JOB_BEGINNING = (("NotStarted", 0.2), ("Preparing", 0.3))
_COLD = (0.3, ("Preparing", 0.3), ("Starting", 0.2))
_WARM = (0.05, ("Preparing", 0.05), ("Starting", 0.05))
_STEP_FINALIZING = 0.05
_JOB_FINALIZING = 0.3

logger = logging.getLogger(__name__)


class Execution:
    """Runs the graph of one job in the threads that call `advance`; the other methods may be called from any thread.

    A job that an earlier process left waiting goes on where it was.
    """

    def __init__(
        self,
        emulator: Emulator,
        job: str,
        graph: Graph,
        job_outputs: Mapping[str, Any],
        queue: Queue,
        rank: int,
        places: threading.Semaphore,
        cancel: Callable[[str, dict[str, Any] | None], None],
    ):
        """`rank` is the job's place in every line of `queue`; of `places` a step takes one while it runs.

        `cancel` is what a scenario or a timeout calls with a reason and a name to have somebody cancel the job.
        """
        self._emulator = emulator
        self._job = job
        self._graph = graph
        self._cancel = cancel
        self._queue = queue
        self._rank = rank
        self._places = places
        self._records = Records(emulator)
        self._resources = WorkspaceResources(emulator)
        self._interrupted = threading.Event()
        self._disturbances = Disturbances(emulator, job, self._records, self._interrupted, cancel)
        told = self._disturbances.heard(job_outputs)
        self._runs = JobRuns(job, graph, told, self._records, self._resources, self._enter)
        self._abandoned: str | None = None
        self._step_now: Step | None = None
        self._process: steps.StepProcess | None = None
        self._is_at_work = False
        """Whether something runs that ends with the emulator."""
        self._lost: set[str] = set()
        self._failures: dict[str, Failure] = {}
        self._course: Generator[Claim, None, None] = self._run()
        self.ended = threading.Event()

    def advance(self) -> Claim | None:
        """Goes on until the job has ended (None), or until it has to wait for the claim that is returned."""
        return next(self._course, None)

    def leave(self) -> None:
        """Leaves the job, which waits, as it is: the next start of the emulator takes it up."""
        self._course.close()
        self.ended.set()

    def cancel(self) -> None:
        """Ends the running step's process group and lets no other step start; the job becomes Canceled."""
        self._interrupted.set()
        process = self._process
        if process is not None:
            process.stop(self._grace_seconds)

    def lose_cluster(self, name: str) -> None:
        """Fails the step that waits for this cluster, which has been deleted, or runs on it."""
        step, process = self._step_now, self._process
        if step is not None and step.compute.lower() == name.lower():
            self._lost.add(step.key)
            if process is not None:
                process.stop(self._grace_seconds)

    def abandon(self, reason: str) -> None:
        """Ends the running step, and the job becomes Failed, with `reason` as its error; one that waits is left."""
        self._abandoned = reason
        self.cancel()

    def _run(self) -> Generator[Claim, None, None]:
        try:
            if (yield from self._begin()):
                yield from self._steps()
                self._finish()
        except Interrupted:
            self._end_interrupted()
        except Exception as error:
            self._end_all("Failed", self._service_error(error, f"job {self._job}"))
        finally:
            self.ended.set()

    def _wait_for(self, want: Want) -> Iterator[Claim]:
        """Returns when the wait is over; what was taken is to be freed."""
        claim = Claim(want, self._rank, self._interrupted.is_set)
        yield claim
        if claim.failure is not None:
            raise claim.failure
        if not claim.is_met or self._interrupted.is_set():
            raise Interrupted

    def _begin(self) -> Generator[Claim, None, bool]:
        """Takes the job to Running; False if it failed on the way."""
        if (self._records.run(self._job) or {}).get("status") not in _NOT_BEGUN:
            if not self._graph.is_single:
                self._enter(self._job, "Running")
            return True
        for status, seconds in _JOB_BEGINNING:
            self._enter(self._job, status)
            self._pause(seconds)
        error = self._disturbances.while_preparing()
        if error is not None:
            self._end_all("Failed", error)
            return False
        stuck = self._disturbances.before_running()
        if stuck is not None:
            self._enter(self._job, "Queued")
            yield from self._wait_for(stuck)
        self._pause(0)
        if not self._graph.is_single:
            self._enter(self._job, "Running")
        self._disturbances.while_running()
        return True

    def _steps(self) -> Iterator[Claim]:
        for step in self._graph.steps:
            if self._failures and not self._graph.continue_on_failure:
                break
            if step.needs & self._failures.keys():
                # What it reads was never written; whatever reads its own outputs cannot run either.
                self._failures[step.key] = self._failures[next(iter(step.needs & self._failures.keys()))]
                continue
            yield from self._step(step)
            self._close_groups(step)

    def _finish(self) -> None:
        self._is_at_work = True
        self._disturbances.settle()
        if self._graph.is_single:
            return
        if self._failures:
            if self._is_canceled():
                raise Interrupted
            self._end_all("Failed", error_of_job(self._failures.values()))
            return
        outputs = self._runs.outputs()
        self._disturbances.before_completion(outputs, self._resources)
        self._enter(self._job, "Finalizing", outputs=outputs)
        self._pause(_JOB_FINALIZING)
        self._enter(self._job, "Completed")

    def _step(self, step: Step) -> Iterator[Claim]:
        run = self._runs.create(step)
        run_id = run["run_id"]
        if run["status"] == "Failed":
            self._failures[step.key] = Failure(run_id, step.name, **run["error"])
        if run["status"] in records.TERMINAL:
            return
        queued, *coming = _WARM if self._runs.is_warm(step) else _COLD
        node = Node(self._emulator, step, run_id, lambda: step.key in self._lost)
        place = Processor(self._places)
        self._step_now = step
        try:
            self._enter(run_id, "Queued")
            self._pause(queued)
            stuck = self._disturbances.in_queue(step, self._number(step))
            if stuck is not None:
                yield from self._wait_for(stuck)
            yield from self._wait_for(node)
            if node.error is not None:
                self._fail(step, run_id, node.error)
                return
            for status, seconds in coming:
                self._enter(run_id, status)
                self._pause(seconds)
            yield from self._wait_for(place)
            self._is_at_work = True
            error = self._execute(step, run_id)
        finally:
            self._queue.free(place, node)
            self._step_now = None
        if self._interrupted.is_set():
            raise Interrupted
        if error is not None:
            self._fail(step, run_id, error)
        else:
            outputs = self._runs.outputs_of(step)
            if self._graph.is_single:
                self._disturbances.before_completion(outputs, self._resources)
            self._enter(run_id, "Finalizing", outputs=outputs)
            self._pause(_STEP_FINALIZING)
            self._enter(run_id, "Completed")
        self._is_at_work = False

    def _fail(self, step: Step, run_id: str, error: dict[str, str]) -> None:
        self._failures[step.key] = Failure(run_id, step.name, **error)
        self._enter(run_id, "Failed", error=error)

    def _execute(self, step: Step, run_id: str) -> dict[str, str] | None:
        """Runs the step's process; None if it succeeded, else the error of its run."""
        log = self._records.log_path(run_id, records.STD_LOG)
        try:
            process = self._start(step, run_id, log)
        except ServiceError as error:
            return self._not_started(log, {"code": USER_ERROR, "message": error.message})
        except OSError as error:
            return self._not_started(log, self._service_error(error, f"step {run_id}"))
        self._records.change_run(run_id, process=process.id.document())
        self._process = process
        if step.key in self._lost or not has_cluster(self._emulator, step):  # deleted when there was no process yet
            self.lose_cluster(step.compute)
        if self._interrupted.is_set():
            process.stop(self._grace_seconds)
        blow = self._disturbances.during(step, self._number(step), process, self._grace_seconds)
        with self._limited(step.most_seconds):
            exit_code = process.wait()
        self._process = None
        self._runs.accept_written(step)
        self._records.keep_artifacts(run_id)
        error = blow.outcome()
        if step.key in self._lost:
            error = cluster_gone(step.compute)
        if error is None and exit_code != 0:
            error = {"code": USER_ERROR, "message": steps.failure_message(log, exit_code)}
        return error

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

    def _start(self, step: Step, run_id: str, log: Path) -> steps.StepProcess:
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
        self._enter(run_id, "Running")
        return steps.StepProcess(command, directory, environment, log)

    @staticmethod
    def _not_started(log: Path, error: dict[str, str]) -> dict[str, str]:
        # Where there is no room, the run's error alone says it.
        with suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(f"ERROR: {error['message']}\n")
        return error

    def _service_error(self, error: Exception, what: str) -> dict[str, str]:
        """What the machine refuses is said in words; anything else is a defect, whose trace goes to the log."""
        failure = error if isinstance(error, ServiceError) else failure_of(error, self._emulator.directory)
        if failure is None:
            logger.error("%s", what, exc_info=error)
        message = f"The emulator failed: {error if failure is None else failure.message}"
        return {"code": SERVICE_ERROR, "message": message}

    def _number(self, step: Step) -> int:
        return self._graph.steps.index(step) + 1

    def _close_groups(self, last: Step) -> None:
        """Ends the pipeline nodes that `last` was the last step of."""
        key = last.group
        remaining = self._graph.steps[self._graph.steps.index(last) + 1 :]
        while key is not None:
            group = self._graph.groups[key]
            inside = {step.key for step in self._graph.steps if step.key.startswith(f"{key}/")}
            failed = inside & self._failures.keys()
            stops = failed and not self._graph.continue_on_failure
            if not stops and any(step.key in inside for step in remaining):
                return
            run_id = self._runs.of_group(key)
            if (self._records.run(run_id) or {}).get("status") in records.TERMINAL:
                pass  # before the emulator was started anew
            elif failed:
                failure = self._failures[min(failed)]
                self._enter(run_id, "Failed", error={"code": failure.code, "message": failure.in_words})
            else:
                self._enter(run_id, "Completed")
            key = group.parent

    def _enter(self, run_id: str, status: str, **fields: Any) -> None:
        if not self._records.set_status(run_id, status, **fields):
            raise Interrupted

    def _pause(self, seconds: float) -> None:
        if self._emulator.clock.wait(seconds, self._interrupted):
            raise Interrupted

    @property
    def _grace_seconds(self) -> float:
        return GRACE_SECONDS / self._emulator.clock.scale

    def _end_interrupted(self) -> None:
        if self._abandoned is None or self._is_canceled():
            self._end_all("Canceled", None)
        elif self._is_at_work:
            self._end_all("Failed", {"code": SERVICE_ERROR, "message": self._abandoned})

    def _is_canceled(self) -> bool:
        run = self._records.run(self._job)
        return run is not None and run["status"] == CANCEL_REQUESTED

    def _end_all(self, status: str, error: dict[str, Any] | None) -> None:
        """Ends whatever of the job has not ended, the steps first."""
        for run in reversed(self._records.family(self._job)):
            self._records.set_status(run["run_id"], status, error=run["error"] or error)
