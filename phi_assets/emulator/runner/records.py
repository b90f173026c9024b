"""Documents and logs of jobs and runs: what the service remembers about them."""

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi_assets.emulator.blobs import ARTIFACT_CONTAINER, DEFAULT_CONTAINER, datastore_uri
from phi_assets.emulator.context import Emulator
from phi_assets.emulator.resources import now
from phi_assets.emulator.runner.graph import Binding, Literal, Step, StepOutput, Uri
from phi_assets.emulator.runner.metrics import MetricPoints, read_metrics

TERMINAL = frozenset({"Completed", "Failed", "Canceled"})
CANCEL_REQUESTED = "CancelRequested"

STD_LOG = "user_logs/std_log.txt"
EXECUTION_LOG = "logs/azureml/executionlogs.txt"

Run = dict[str, Any]


class Records:
    """Creates and changes the documents of kind `job` (key: name) and `run` (key: run id).

    A root run has the job's name as its id and carries the same status.
    """

    def __init__(self, emulator: Emulator):
        self._emulator = emulator
        self._store = emulator.store

    def job(self, name: str) -> dict[str, Any] | None:
        """The job's document."""
        return self._store.get("job", name)

    def run(self, run_id: str) -> Run | None:
        """The run's document."""
        return self._store.get("run", run_id)

    def children(self, run_id: str) -> list[Run]:
        """Runs whose parent is this one, the oldest first."""
        return [run for run in self._store.list("run") if run["parent_run_id"] == run_id]

    def family(self, root_run_id: str) -> list[Run]:
        """The job's own run and all runs below it, the oldest first."""
        return [run for run in self._store.list("run") if run["root_run_id"] == root_run_id]

    def create_root(self, name: str, properties: Mapping[str, Any]) -> None:
        """The run of the job itself, NotStarted."""
        inputs = {key: _shown(value) for key, value in (properties.get("inputs") or {}).items() if value}
        self._store.put(
            "run",
            name,
            self._new(name, None, name, properties.get("displayName") or name)
            | {
                "experiment": properties.get("experimentName") or "Default",
                "tags": properties.get("tags") or {},
                "properties": {"azureml.runsource": "azureml.PipelineRun", "runType": "HTTP"},
                "inputs": inputs,
                "compute": None,
            },
        )

    def create_child(self, parent: Run, name: str, component_id: str, **fields: Any) -> Run:
        """A run below `parent`, NotStarted, with an id of its own."""
        run = self._new(str(uuid.uuid4()), parent["run_id"], parent["root_run_id"], name)
        run |= {
            "step": name,
            "component_id": component_id,
            "experiment": parent["experiment"],
            "properties": {
                "azureml.runsource": "azureml.StepRun",
                "azureml.moduleid": component_id,
                "azureml.nodeid": run["run_id"][:8],
                "azureml.pipelinerunid": parent["root_run_id"],
            },
        }
        run |= fields
        self._store.put("run", run["run_id"], run)
        return run

    def set_status(self, run_id: str, status: str, **fields: Any) -> bool:
        """Moves a run, and its job if it is a root run, to `status`; adds one line to the job's execution log.

        False, and nothing changes, if the run has ended, or if it is about to be canceled and `status` is not final.
        """

        def change(run: Run) -> Run | None:
            if run["status"] in TERMINAL:
                return None
            if run["status"] == CANCEL_REQUESTED and status not in TERMINAL:
                return None
            run |= fields | {"status": status, "modified": now(self._emulator), "previous": run["status"]}
            if status == "Running" and run["started"] is None:
                run["started"] = run["modified"]
            if status in TERMINAL:
                run["ended"] = run["modified"]
                run["process"] = None
            return run

        run = self._store.update("run", run_id, change)
        if run is None:
            return False
        if run_id == run["root_run_id"]:
            self._store.update("job", run_id, lambda job: job | {"status": status})
        if run["previous"] != status:
            subject = "Pipeline" if run_id == run["root_run_id"] else f"Step {run['display_name']} ({run_id})"
            self.log(run["root_run_id"], f"{subject}: {run['previous']} -> {status}")
        return True

    def change_run(self, run_id: str, **fields: Any) -> None:
        """Sets fields of the run's document that are not about its status."""
        self._store.update("run", run_id, lambda run: run | fields)

    def forget(self, job: str) -> None:
        """Removes the documents of a job and its runs, with their logs and metrics; outputs stay where they are."""
        for run in self.family(job):
            shutil.rmtree(self.folder(run["run_id"]), ignore_errors=True)
            artifacts = self._emulator.blobs.path(ARTIFACT_CONTAINER, f"ExperimentRun/dcid.{run['run_id']}")
            shutil.rmtree(artifacts, ignore_errors=True)
            self._store.delete("run", run["run_id"])
        self._store.delete("job", job)

    def log(self, root_run_id: str, line: str) -> None:
        """Appends one line, with the time, to the job's execution log."""
        path = self.log_path(root_run_id, EXECUTION_LOG)
        moment = self._emulator.clock.now().strftime("%Y-%m-%d %H:%M:%SZ")
        with path.open("a", encoding="utf-8") as file:
            file.write(f"[{moment}] {line}\n")

    def log_path(self, run_id: str, name: str) -> Path:
        """Where the run's log of this name lies; its folder exists and the run's document names it."""
        blob = f"ExperimentRun/dcid.{run_id}/{name}"
        path = self._emulator.blobs.path(ARTIFACT_CONTAINER, blob)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._store.update(
                "run", run_id, lambda run: run | {"logs": run["logs"] | {name: f"{ARTIFACT_CONTAINER}/{blob}"}}
            )
        return path

    def folder(self, run_id: str) -> Path:
        """The run's private folder: its working directory and its metrics."""
        return self._emulator.directory / "runs" / run_id

    def metrics_path(self, run_id: str) -> Path:
        """The file that the step appends its metrics to."""
        return self.folder(run_id) / "metrics.jsonl"

    def metrics(self, run: Run) -> MetricPoints:
        """What the run has recorded; for a run with children also what they have, in the order of time."""
        below = self.family(run["root_run_id"])
        included = {run["run_id"]}
        for candidate in below:
            if candidate["parent_run_id"] in included:
                included.add(candidate["run_id"])
        points = [point for run_id in sorted(included) for point in read_metrics(self.metrics_path(run_id))]
        return sorted(points, key=lambda point: (point.timestamp, point.step))

    def _new(self, run_id: str, parent: str | None, root: str, display_name: str) -> Run:
        created = now(self._emulator)
        return {
            "run_id": run_id,
            "parent_run_id": parent,
            "root_run_id": root,
            "display_name": display_name,
            "description": None,
            "step": None,
            "component_id": None,
            "status": "NotStarted",
            "created": created,
            "modified": created,
            "started": None,
            "ended": None,
            "compute": None,
            "tags": {},
            "properties": {},
            "inputs": {},
            "outputs": {},
            "logs": {},
            "error": None,
            "experiment": "Default",
            "process": None,
        }


def experiment_id(name: str) -> str:
    """The id of the experiment of this name; experiments exist through their runs."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def output_uri(folder: str, output: str, type_: str, uri: str | None = None) -> str:
    """Where an output is written: `azureml/{folder}/{output}/` of the default datastore unless `uri` is given.

    `folder` is the job's name for outputs of the pipeline, else the run id of the step.
    """
    if uri:
        return uri.replace("${{name}}", folder).replace("${{output_name}}", output)
    end = "" if type_ == "uri_file" else "/"
    return datastore_uri(DEFAULT_CONTAINER, f"azureml/{folder}/{output}{end}")


def described_inputs(step_inputs: Mapping[str, Binding], uris: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Inputs as the run's document keeps them: `{"value"}` or `{"uri", "type"}`."""
    described: dict[str, Any] = {}
    for name, binding in step_inputs.items():
        if isinstance(binding, Literal):
            described[name] = {"value": binding.text}
        elif isinstance(binding, Uri):
            described[name] = {"uri": binding.uri, "type": binding.type}
        elif isinstance(binding, StepOutput) and (binding.step, binding.output) in uris:
            described[name] = {"uri": uris[binding.step, binding.output], "type": "uri_folder"}
    return described


def _shown(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {"value": str(value)}
    if value.get("uri"):
        return {"uri": value["uri"], "type": str(value.get("jobInputType", "uri_folder")).lower()}
    return {"value": value.get("value")}


def title(step: Step) -> str:
    """How messages name a step."""
    return f"'{step.name}' ({step.component.name}:{step.component.version})"
