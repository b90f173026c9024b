"""Documents and logs of jobs and runs: what the service remembers about them."""

import logging
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi_assets.emulator.runner.documents import COMMAND
from phi_assets.emulator.runner.metrics import MetricPoints, read_metrics
from phi_assets.emulator.store.blobs import ARTIFACT_CONTAINER
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import now

TERMINAL = frozenset({"Completed", "Failed", "Canceled"})
CANCEL_REQUESTED = "CancelRequested"

WORKING_DIRECTORY = "wd"
"""Of a run's process, in the run's folder."""

STD_LOG = "user_logs/std_log.txt"
EXECUTION_LOG = "logs/azureml/executionlogs.txt"

_DESCENDANT = "run_descendant"
"""Kind of the documents, with keys `<root run id>/<run id>`, by which a job's runs are found among all runs."""

_MAKER = "step_maker"
"""Kind of the documents, with identities of steps as keys, that say which run has done such a step last."""

logger = logging.getLogger(__name__)

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
        run = self.run(run_id)
        if run is None:
            return []
        return [child for child in self.family(run["root_run_id"]) if child["parent_run_id"] == run_id]

    def family(self, root_run_id: str) -> list[Run]:
        """The job's own run and all runs below it, the oldest first."""
        below = [entry["run_id"] for entry in self._store.list(_DESCENDANT, f"{root_run_id}/")]
        found = [self.run(run_id) for run_id in (root_run_id, *below)]
        return [run for run in found if run is not None]

    def index(self) -> None:
        """Makes the runs of jobs findable that were written down without an index."""
        for run in self._store.list("run"):
            if run["run_id"] != run["root_run_id"]:
                self._index(run)

    def create_root(self, name: str, properties: Mapping[str, Any], author: Mapping[str, Any] | None = None) -> None:
        """The run of the job itself, NotStarted; `author` is who submitted it, as the run history shows people."""
        inputs = {key: _shown(value) for key, value in (properties.get("inputs") or {}).items() if value}
        self._store.put(
            "run",
            name,
            self._new(name, None, name, properties.get("displayName") or name)
            | {
                "experiment": properties.get("experimentName") or "Default",
                "tags": properties.get("tags") or {},
                "inputs": inputs,
                "compute": None,
                "job_type": properties.get("jobType"),
                "created_by": author,
                "modified_by": author,
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
        run |= {"created_by": parent.get("created_by"), "modified_by": parent.get("created_by"), **fields}
        self._index(run)
        self._store.put("run", run["run_id"], run)
        return run

    def set_status(self, run_id: str, status: str, **fields: Any) -> bool:
        """Moves a run, and its job if it is a root run, to `status`; adds one line to a pipeline's execution log.

        False, and nothing changes, if the run has ended, or if it is about to be canceled and `status` is not final.
        """

        def change(run: Run) -> Run | None:
            if run["status"] in TERMINAL:
                return None
            if run["status"] == CANCEL_REQUESTED and status not in TERMINAL:
                return None
            run |= fields | {"status": status, "modified": now(self._emulator), "previous": run["status"]}
            run["revision"] = run.get("revision", 0) + 1
            run["status_revision"] = run.get("status_revision", 0) + (run["previous"] != status)
            if status == "Running" and run["started"] is None:
                run["started"] = run["modified"]
            if status in TERMINAL:
                run["ended"] = run["modified"]
                run["process"] = None
            if run_id == run["root_run_id"]:
                # In the run's transaction: of two changes at once, the same one is the last for both.
                self._store.update("job", run_id, lambda job: job | {"status": status})
            return run

        run = self._store.update("run", run_id, change)
        if run is None:
            return False
        if run["previous"] != status and run.get("job_type") != COMMAND:
            subject = "Pipeline" if run_id == run["root_run_id"] else f"Step {run['display_name']} ({run_id})"
            self.log(run["root_run_id"], f"{subject}: {run['previous']} -> {status}")
        return True

    def change_run(self, run_id: str, **fields: Any) -> None:
        """Sets fields of the run's document that are not about its status."""
        self._store.update("run", run_id, lambda run: run | fields)

    def remember_maker(self, identity: str, run_id: str) -> None:
        """Steps of this identity may take over what the run has written."""
        self._store.put(_MAKER, identity, {"run_id": run_id})

    def maker_of(self, identity: str) -> Run | None:
        """The latest Completed run of a step of this identity, while there is a record of it."""
        known = self._store.get(_MAKER, identity)
        return self.run(known["run_id"]) if known else None

    def mark_reused(self, run_id: str, maker: Run) -> None:
        """The run has taken over what `maker` has done."""
        reused = {
            "azureml.isreused": "true",
            "azureml.reusedrunid": maker["run_id"],
            "azureml.reusednodeid": maker["properties"].get("azureml.nodeid"),
            "azureml.reusedpipeline": maker["root_run_id"],
            "azureml.reusedpipelinerunid": maker["root_run_id"],
        }
        change = {"started": now(self._emulator)}
        self._store.update("run", run_id, lambda run: run | change | {"properties": run["properties"] | reused})

    def forget(self, job: str) -> None:
        """Removes the documents of a job and its runs, with their logs and metrics; outputs stay where they are."""
        for run in self.family(job):
            shutil.rmtree(self.folder(run["run_id"]), ignore_errors=True)
            artifacts = self._emulator.blobs.path(ARTIFACT_CONTAINER, f"ExperimentRun/dcid.{run['run_id']}")
            shutil.rmtree(artifacts, ignore_errors=True)
            self._store.delete("run", run["run_id"])
            self._store.delete(_DESCENDANT, f"{job}/{run['run_id']}")
        self._store.delete("job", job)

    def log(self, root_run_id: str, line: str) -> None:
        """Appends one line, with the time, to the job's execution log."""
        moment = self._emulator.clock.now().strftime("%Y-%m-%d %H:%M:%SZ")
        try:
            with self.log_path(root_run_id, EXECUTION_LOG).open("a", encoding="utf-8") as file:
                file.write(f"[{moment}] {line}\n")
        except OSError as error:  # what happened counts more than the line about it
            logger.warning("run %s: %s; this line is missing in its log: %s", root_run_id, error, line)

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

    def process_logs(self, run_id: str, count: int) -> list[Path]:
        """Where the logs of a run's several processes lie, in the order of their ranks."""
        return [self.log_path(run_id, f"user_logs/std_log_process_{rank:02}.txt") for rank in range(count)]

    def keep_artifacts(self, run_id: str) -> None:
        """What the run has written to `./outputs` lies among its artifacts, as the service does it for every run."""
        written = self.folder(run_id) / WORKING_DIRECTORY / "outputs"
        if written.is_dir():
            kept = self._emulator.blobs.path(ARTIFACT_CONTAINER, f"ExperimentRun/dcid.{run_id}/outputs")
            shutil.copytree(written, kept, dirs_exist_ok=True, ignore_dangling_symlinks=True)

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

    def _index(self, run: Run) -> None:
        self._store.create(_DESCENDANT, f"{run['root_run_id']}/{run['run_id']}", {"run_id": run["run_id"]})

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
            "revision": 0,
            "status_revision": 0,
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
            "cancelation_reason": None,
            "created_by": None,
            "modified_by": None,
        }


def experiment_id(name: str) -> str:
    """The id of the experiment of this name; experiments exist through their runs."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def _shown(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {"value": str(value)}
    if value.get("uri"):
        return {"uri": value["uri"], "type": str(value.get("jobInputType", "uri_folder")).lower()}
    return {"value": value.get("value")}
