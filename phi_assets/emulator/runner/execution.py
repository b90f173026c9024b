"""One job on its way: its steps in order, each through its states, to one end."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phi_assets.emulator.context import Emulator
from phi_assets.emulator.errors import ServiceError
from phi_assets.emulator.runner import records, steps
from phi_assets.emulator.runner.graph import Graph, Literal, Step, Uri
from phi_assets.emulator.runner.records import Records, Run
from phi_assets.emulator.runner.references import WorkspaceResources
from phi_assets.emulator.runner.substitution import command_line

GRACE_SECONDS = 5.0

# Seconds at time scale 1. The first step of a job waits for its node, later ones find it warm.
_JOB_BEGINNING = (("NotStarted", 0.2), ("Preparing", 0.3))
_COLD = (("Queued", 0.3), ("Preparing", 0.3), ("Starting", 0.2))
_WARM = (("Queued", 0.05), ("Preparing", 0.05), ("Starting", 0.05))
_STEP_FINALIZING = 0.05
_JOB_FINALIZING = 0.3

logger = logging.getLogger(__name__)


class _Interrupted(Exception):
    """The job was canceled, or the emulator stops."""


class Execution:
    """Runs the graph of one job in the calling thread; `cancel` and `abandon` may be called from any other."""

    def __init__(
        self, emulator: Emulator, job: str, graph: Graph, job_outputs: Mapping[str, Any], slots: threading.Semaphore
    ):
        self._emulator = emulator
        self._job = job
        self._graph = graph
        self._job_outputs = job_outputs
        self._slots = slots
        self._records = Records(emulator)
        self._resources = WorkspaceResources(emulator)
        self._interrupted = threading.Event()
        self._abandoned: str | None = None
        self._process: steps.StepProcess | None = None
        self._runs: dict[str, Run] = {}
        self._uris: dict[tuple[str, str], str] = {}
        self._failures: dict[str, tuple[Run, str]] = {}
        self.ended = threading.Event()

    def cancel(self) -> None:
        """Ends the running step's process group and lets no other step start; the job becomes Canceled."""
        self._interrupted.set()
        process = self._process
        if process is not None:
            process.stop(GRACE_SECONDS / self._emulator.clock.scale)

    def abandon(self, reason: str) -> None:
        """Like `cancel`, but the job becomes Failed, with `reason` as its error."""
        self._abandoned = reason
        self.cancel()

    def run(self) -> None:
        """Takes the job from NotStarted to its end, whatever happens."""
        try:
            self._begin()
            self._steps()
            self._finish()
        except _Interrupted:
            self._end_interrupted()
        except Exception as error:
            logger.exception("job %s", self._job)
            self._end_all("Failed", {"code": "ServiceError", "message": f"The emulator failed: {error}"})
        finally:
            self.ended.set()

    def _begin(self) -> None:
        for status, seconds in _JOB_BEGINNING:
            self._enter(self._job, status)
            self._pause(seconds)
        self._enter(self._job, "Running")

    def _steps(self) -> None:
        for step in self._graph.steps:
            if self._failures and not self._graph.continue_on_failure:
                break
            if step.needs & self._failures.keys():
                # What it reads was never written; whatever reads its own outputs cannot run either.
                self._failures[step.key] = self._failures[next(iter(step.needs & self._failures.keys()))]
                continue
            self._step(step)
            self._close_groups(step)

    def _finish(self) -> None:
        if self._failures:
            failed = {run["run_id"]: (run, message) for run, message in self._failures.values()}
            listed = "; ".join(f"{run['display_name']}: {message}" for run, message in failed.values())
            message = f"Pipeline has {len(failed)} failed step{'s' * (len(failed) > 1)}. {listed}"
            self._end_all("Failed", {"code": "UserError", "message": message})
            return
        self._enter(self._job, "Finalizing", outputs=self._outputs())
        self._pause(_JOB_FINALIZING)
        self._enter(self._job, "Completed")

    def _step(self, step: Step) -> None:
        run = self._create_run(step)
        self._runs[step.key] = run
        run_id = run["run_id"]
        warm = any(other["compute"] == step.compute for key, other in self._runs.items() if key != step.key)
        for status, seconds in _WARM if warm else _COLD:
            self._enter(run_id, status)
            self._pause(seconds)
        with self._slot():
            message = self._execute(step, run_id)
        if self._interrupted.is_set():
            raise _Interrupted
        if message is not None:
            self._failures[step.key] = (run, message)
            self._enter(run_id, "Failed", error={"code": "UserError", "message": message})
            return
        outputs = {
            name: {"uri": self._uris[step.key, name], "type": place.type} for name, place in step.outputs.items()
        }
        self._enter(run_id, "Finalizing", outputs=outputs)
        self._pause(_STEP_FINALIZING)
        self._enter(run_id, "Completed")

    def _execute(self, step: Step, run_id: str) -> str | None:
        """Runs the step's process; None if it succeeded, else why it did not."""
        log = self._records.log_path(run_id, records.STD_LOG)
        try:
            command = self._command(step)
            code = (
                (step.component.file.parent / step.component.spec["code"]) if step.component.spec.get("code") else None
            )
            directory = steps.working_directory(self._records.folder(run_id), code)
            environment = steps.step_environment(
                os.environ,
                run_id=run_id,
                root_run_id=self._job,
                metrics=self._records.metrics_path(run_id),
                extra=step.environment,
            )
            self._enter(run_id, "Running")
            process = steps.StepProcess(command, directory, environment, log)
        except (ServiceError, OSError) as error:
            message = error.message if isinstance(error, ServiceError) else f"The step could not be started: {error}"
            with log.open("a", encoding="utf-8") as file:
                file.write(f"ERROR: {message}\n")
            return message
        self._records.change_run(run_id, process=process.id.document())
        self._process = process
        if self._interrupted.is_set():
            process.stop(GRACE_SECONDS / self._emulator.clock.scale)
        exit_code = process.wait()
        self._process = None
        return None if exit_code == 0 else steps.failure_message(log, exit_code)

    def _command(self, step: Step) -> list[str]:
        inputs: dict[str, str] = {}
        for name, binding in step.inputs.items():
            where = f"Input '{name}' of step {records.title(step)}"
            if isinstance(binding, Literal):
                inputs[name] = binding.text
            elif isinstance(binding, Uri):
                inputs[name] = str(self._resources.local_path(binding.uri, binding.type, where))
            else:
                uri = self._uris[binding.step, binding.output]
                inputs[name] = str(self._resources.local_path(uri, "uri_folder", where))
        outputs = {name: str(self._output_path(step, name)) for name in step.outputs}
        return command_line(str(step.component.spec["command"]), inputs, outputs)

    def _output_path(self, step: Step, name: str) -> Path:
        path = self._resources.writable_path(self._uris[step.key, name])
        (path.parent if step.outputs[name].type == "uri_file" else path).mkdir(parents=True, exist_ok=True)
        return path

    def _create_run(self, step: Step) -> Run:
        parent = self._open_group(step.group)
        run = self._records.create_child(
            parent,
            step.name,
            step.component.id,
            compute=step.compute,
            inputs=records.described_inputs(step.inputs, self._uris),
        )
        for name, place in step.outputs.items():
            folder, output = (self._job, place.job_output) if place.job_output else (run["run_id"], name)
            chosen = (self._job_outputs.get(place.job_output or "") or {}).get("uri")
            self._uris[step.key, name] = records.output_uri(folder, output, place.type, chosen)
        self._records.log(self._job, f"Submitting 1 run: {step.name} ({run['run_id']}) on {step.compute}")
        return run

    def _open_group(self, key: str | None) -> Run:
        if key is None:
            return self._existing(self._job)
        if key not in self._runs:
            group = self._graph.groups[key]
            parent = self._open_group(group.parent)
            self._runs[key] = self._records.create_child(
                parent, group.name, group.component.id, inputs=records.described_inputs(group.inputs, self._uris)
            )
            self._enter(self._runs[key]["run_id"], "Running")
        return self._runs[key]

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
            run_id = self._runs[key]["run_id"]
            if failed:
                run, message = self._failures[min(failed)]
                self._enter(
                    run_id, "Failed", error={"code": "UserError", "message": f"{run['display_name']}: {message}"}
                )
            else:
                self._enter(run_id, "Completed")
            key = group.parent

    def _outputs(self) -> dict[str, Any]:
        found = {}
        for name, source in self._graph.outputs.items():
            declared = (self._job_outputs.get(name) or {}).get("jobOutputType")
            place = self._graph.step(source.step).outputs[source.output]
            found[name] = {"uri": self._uris[source.step, source.output], "type": declared or place.type}
        return found

    def _existing(self, run_id: str) -> Run:
        run = self._records.run(run_id)
        assert run is not None, f"run {run_id} was deleted while it was executing"
        return run

    def _enter(self, run_id: str, status: str, **fields: Any) -> None:
        if not self._records.set_status(run_id, status, **fields):
            raise _Interrupted

    def _pause(self, seconds: float) -> None:
        if self._emulator.clock.wait(seconds, self._interrupted):
            raise _Interrupted

    def _slot(self) -> "_Slot":
        return _Slot(self._slots, self._interrupted.is_set)

    def _end_interrupted(self) -> None:
        if self._abandoned is not None:
            self._end_all("Failed", {"code": "ServiceError", "message": self._abandoned})
        else:
            self._end_all("Canceled", None)

    def _end_all(self, status: str, error: dict[str, Any] | None) -> None:
        """Ends whatever of the job has not ended, the steps first."""
        for run in reversed(self._records.family(self._job)):
            self._records.set_status(run["run_id"], status, error=run["error"] or error)


class _Slot:
    """One of the places for running steps; waiting for it ends when the job is interrupted."""

    _LOOK_SECONDS = 0.25

    def __init__(self, slots: threading.Semaphore, interrupted: Callable[[], bool]):
        self._slots = slots
        self._interrupted = interrupted

    def __enter__(self) -> None:
        while not self._slots.acquire(timeout=self._LOOK_SECONDS):
            if self._interrupted():
                raise _Interrupted

    def __exit__(self, *_: object) -> None:
        self._slots.release()
