"""One job on its way: its steps as soon as they can run, each through its states, to one end."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any

from phi_assets.emulator.runner import records
from phi_assets.emulator.runner.disturbances import Disturbances
from phi_assets.emulator.runner.failures import SERVICE_ERROR, Failure, error_of_job
from phi_assets.emulator.runner.launching import Launcher
from phi_assets.emulator.runner.pipeline.graph import Graph, Step
from phi_assets.emulator.runner.queue import Claim, Interrupted, Queue, Want
from phi_assets.emulator.runner.records import CANCEL_REQUESTED, Records
from phi_assets.emulator.runner.references import WorkspaceResources
from phi_assets.emulator.runner.runs import JobRuns
from phi_assets.emulator.runner.wants import Node, Processor
from phi_assets.emulator.workspace.context import Emulator

# Seconds at time scale 1; of a step those in the queue first. The first step of a job waits for its node, later ones
# find it warm.
_NOT_BEGUN = frozenset({"NotStarted", "Preparing", "Queued"})
_JOB_BEGINNING = (("NotStarted", 0.2), ("Preparing", 0.3))
_COLD = (0.3, ("Preparing", 0.3), ("Starting", 0.2))
_WARM = (0.05, ("Preparing", 0.05), ("Starting", 0.05))
_STEP_FINALIZING = 0.05
_JOB_FINALIZING = 0.3

logger = logging.getLogger(__name__)


class Course:
    """Part of a job that goes on by itself: its beginning, and one step after the other; several at a time."""

    def __init__(self, work: Generator[Claim, None, None], left: Callable[[], None]):
        """`left` is called when the course will not go on."""
        self._work = work
        self._left = left

    def advance(self) -> Claim | None:
        """Goes on until the course has ended (None), or until it has to wait for the claim that is returned."""
        return next(self._work, None)

    def leave(self) -> None:
        """Leaves what waits as it is: the next start of the emulator takes it up."""
        self._work.close()
        self._left()


class Execution:
    """Runs the graph of one job in the threads that advance its courses; its methods may be called from any thread.

    Steps that need nothing of each other run at the same time. A job that an earlier process left waiting goes on where
    it was.
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
        drive: Callable[["Execution", Course], None],
        *,
        may_reuse: bool = False,
    ):
        """`rank` is the job's place in every line of `queue`; of `places` a step takes one while it runs.

        `cancel` is what a scenario or a timeout calls with a reason and a name to have somebody cancel the job, and
        `drive` has a thread advance a course. `may_reuse` says whether steps that have been done before are taken over.
        """
        self._emulator = emulator
        self._job = job
        self._graph = graph
        self._queue = queue
        self._rank = rank
        self._places = places
        self._records = Records(emulator)
        self._resources = WorkspaceResources(emulator)
        self._interrupted = threading.Event()
        self._disturbances = Disturbances(emulator, job, self._records, self._interrupted, cancel)
        told = self._disturbances.heard(job_outputs)
        self._runs = JobRuns(job, graph, told, self._records, self._resources, self._enter)
        self._launcher = Launcher(emulator, job, self._runs, self._disturbances, self._interrupted, cancel)
        self._drive = drive
        self._may_reuse = may_reuse
        self._abandoned: str | None = None
        self._at_work: set[str] = set()
        """What runs and ends with the emulator: keys of steps, and the job's name where it is about to end."""
        self._failures: dict[str, Failure] = {}
        self._lock = threading.RLock()
        """Of what follows: which steps have not begun, and which have not ended; how many courses go on."""
        self._coming = list(graph.steps)
        self._open = {step.key for step in graph.steps}
        self._courses = 0
        self._is_left = False
        self._defect: Exception | None = None
        self.ended = threading.Event()

    def start(self) -> None:
        """Begins the job."""
        self._set_out(self._beginning())

    def cancel(self) -> None:
        """Ends the process groups of running steps and lets no other step start; the job becomes Canceled."""
        self._interrupted.set()
        self._launcher.stop()

    def lose_cluster(self, name: str) -> None:
        """Fails the steps that wait for this cluster, which has been deleted, or run on it."""
        self._launcher.lose_cluster(name)

    def abandon(self, reason: str) -> None:
        """Ends the running steps, and the job becomes Failed, with `reason` as its error; one that waits is left."""
        self._abandoned = reason
        self.cancel()

    def _set_out(self, work: Generator[Claim, None, None]) -> None:
        with self._lock:
            self._courses += 1
        self._drive(self, Course(self._guarded(work), self._leave))

    def _guarded(self, work: Generator[Claim, None, None]) -> Generator[Claim, None, None]:
        try:
            yield from work
        except Interrupted:
            self._interrupted.set()
        except Exception as error:
            self._defect = self._defect or error
            self.cancel()
        self._end_course()

    def _leave(self) -> None:
        with self._lock:
            self._is_left = True
        self._end_course()

    def _end_course(self) -> None:
        """The last one ends the job."""
        with self._lock:
            self._courses -= 1
            if self._courses:
                return
        try:
            if self._defect is None and not self._interrupted.is_set() and not self._is_left:
                self._finish()
        except Interrupted:
            self._interrupted.set()
        except Exception as error:
            self._defect = error
        try:
            if self._defect is not None:
                self._end_all("Failed", self._launcher.service_error(self._defect, f"job {self._job}"))
            elif self._interrupted.is_set():
                self._end_interrupted()
        finally:
            self.ended.set()

    def _beginning(self) -> Generator[Claim, None, None]:
        if (yield from self._begin()):
            yield from self._onwards()

    def _onwards(self, step: Step | None = None) -> Generator[Claim, None, None]:
        """The step, and one step after the other that can run then; what can run beside them has courses of its own."""
        while True:
            if step is not None:
                yield from self._step(step)
            step = self._next(step)
            if step is None:
                return

    def _next(self, last: Step | None) -> Step | None:
        """A step that can run now, where there is one; all others that can have set out."""
        with self._lock:
            if last is not None:
                self._close(last)
            ready = [step for step in self._coming if not step.needs & self._open]
            for step in list(ready):
                if self._failures and not self._graph.continue_on_failure:
                    ready.remove(step)
                elif step.needs & self._failures.keys():
                    # What it reads was never written; whatever reads its own outputs cannot run either.
                    self._failures[step.key] = self._failures[next(iter(step.needs & self._failures.keys()))]
                    self._coming.remove(step)
                    self._close(step)
                    return self._next(None)
            self._coming = [step for step in self._coming if step not in ready]
            for step in ready[1:]:
                self._set_out(self._onwards(step))
            return ready[0] if ready else None

    def _close(self, step: Step) -> None:
        self._open.discard(step.key)
        self._close_groups(step)

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

    def _finish(self) -> None:
        self._at_work.add(self._job)
        self._disturbances.settle()
        if (self._records.run(self._job) or {}).get("status") in records.TERMINAL:
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
        with self._lock:
            run = self._runs.create(step)
        run_id = run["run_id"]
        if run["status"] == "Failed":
            self._failures[step.key] = Failure(run_id, step.name, **run["error"])
        if run["status"] in records.TERMINAL:
            return
        if self._may_reuse and self._runs.take_over(step):
            self._enter(run_id, "Completed", outputs=self._runs.outputs_of(step))
            return
        queued, *coming = _WARM if self._runs.is_warm(step) else _COLD
        node = Node(self._emulator, step, run_id, lambda: self._launcher.is_lost(step))
        place = Processor(self._places)
        try:
            with self._launcher.underway(step):
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
                self._at_work.add(step.key)
                enter = partial(self._enter, run_id)
                error = self._launcher.execute(step, self._number(step), run_id, enter)
            self._conclude(step, run_id, error)
        finally:
            # Last, so that nobody has the node of a step that has not ended.
            self._queue.free(place, node)
        self._at_work.discard(step.key)

    def _conclude(self, step: Step, run_id: str, error: dict[str, str] | None) -> None:
        if self._interrupted.is_set():
            raise Interrupted
        if error is not None:
            self._fail(step, run_id, error)
            return
        outputs = self._runs.outputs_of(step)
        if self._graph.is_single:
            self._disturbances.before_completion(outputs, self._resources)
        self._enter(run_id, "Finalizing", outputs=outputs)
        self._pause(_STEP_FINALIZING)
        self._enter(run_id, "Completed")
        self._runs.remember(step)

    def _fail(self, step: Step, run_id: str, error: dict[str, str]) -> None:
        self._failures[step.key] = Failure(run_id, step.name, **error)
        self._enter(run_id, "Failed", error=error)

    def _number(self, step: Step) -> int:
        return self._graph.steps.index(step) + 1

    def _close_groups(self, last: Step) -> None:
        """Ends the pipeline nodes that `last` was the last step of."""
        key = last.group
        while key is not None:
            group = self._graph.groups[key]
            inside = {step.key for step in self._graph.steps if step.key.startswith(f"{key}/")}
            failed = inside & self._failures.keys()
            stops = failed and not self._graph.continue_on_failure
            begun = self._open - {step.key for step in self._coming}
            if inside & (begun if stops else self._open):
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

    def _end_interrupted(self) -> None:
        if self._abandoned is None or self._is_canceled():
            self._end_all("Canceled", None)
        elif self._at_work:
            self._end_all("Failed", {"code": SERVICE_ERROR, "message": self._abandoned})

    def _is_canceled(self) -> bool:
        run = self._records.run(self._job)
        return run is not None and run["status"] == CANCEL_REQUESTED

    def _end_all(self, status: str, error: dict[str, Any] | None) -> None:
        """Ends whatever of the job has not ended, the steps first."""
        for run in reversed(self._records.family(self._job)):
            self._records.set_status(run["run_id"], status, error=run["error"] or error)
