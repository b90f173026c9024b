"""Jobs that runs have left to themselves: real ones of the toy graph, and documents of many more."""

import json
import uuid
from collections.abc import Mapping
from copy import copy as copied
from pathlib import Path
from typing import Any

import dagster as dg

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.training.lookup import get_job
from phi_assets.config.settings import load_settings
from phi_assets.definitions import build_definitions
from phi_assets.emulator.process import Connection
from phi_assets.emulator.store.state import Store
from phi_assets.graph.automation.conditions import DETACHED_TAG
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.training.assets import FINETUNE_JOB, JOB_TAG
from phi_assets.graph.training.detached import tags_of_leaver
from tests.e2e.harness.processes import until
from tests.graph.ticks import Tick, Ticker, materialized
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import write_toy_recipe

UPSTREAM = '+key:"sampled_train_sft" or +key:"sampled_validation_sft" or +key:"finetune_compute"'
TRAINING = 'key:"finetune_job" or key:"registered_model"'


class World:
    """A recipe that waits detached, the sensor, and an instance that has what the job is made from.

    `folder` makes the job the test's own. Samples and cluster may be those of an earlier world of the same instance.
    """

    def __init__(self, emulator: Connection, folder: Path, instance: dg.DagsterInstance) -> None:
        self.emulator, self.folder, self.instance = emulator, folder, instance
        self.gate = folder / "gate"
        self.storage = str(folder.parent / "storage")
        self.graph = self.graph_of()
        if not instance.has_asset_key(self.graph.key("finetune_compute")):
            materialized(self.graph, UPSTREAM)
        self.sensor = Ticker(self.graph, "detached_jobs")

    def end(self) -> None:
        """No job waits at the gate, and no run waits for one."""
        self.gate.touch()
        for run in self.instance.get_runs(dg.RunsFilter(tags={DETACHED_TAG: "waiting"})):
            self.instance.delete_run(run.run_id)

    def graph_of(self, parameters: dict[str, Any] | None = None, **finetune: Any) -> Graph:
        changes = {
            "parameters": {"prefix": str(self.folder), "gate": str(self.gate), **(parameters or {})},
            "compute": {"name": "detached"},
            "finetune": {"wait": "detached", "experiment": self.folder.name, **finetune},
        }
        number = len(list(self.folder.glob("recipe-*")))
        recipe = write_toy_recipe(self.folder / f"recipe-{number}.yaml", changes)
        return Graph(self.emulator.directory.parent, recipe, Path(self.storage), self.instance)

    def beside(self, name: str, *, parameters: dict[str, Any]) -> tuple[Graph, Lineage]:
        """A graph that has another recipe beside this one, and where that stands in it."""
        settings = load_settings({"PHI_HOME": str(self.emulator.directory.parent), "PHI_STORAGE": self.storage})
        recipe = self.graph.recipe
        other = recipe.model_copy(
            update={
                "name": name,
                "serving": recipe.serving.model_copy(update={"endpoint": f"{name}-completion", "model_name": name}),
                "finetune": recipe.finetune.model_copy(update={"parameters": parameters}),
            }
        )
        graph = copied(self.graph)
        graph.definitions = build_definitions(settings, recipe, other)
        return graph, Lineage.of(other, settings)

    def use(self, graph: Graph) -> None:
        self.graph, self.sensor = graph, Ticker(graph, "detached_jobs")

    def leave(self, selection: str = TRAINING) -> tuple[str, dg.ExecuteInProcessResult]:
        """Name of the job that a run has left, and the run."""
        result = self.graph.materialize(selection)
        assert result.success, failure_message(result)
        return self.run(result)[JOB_TAG], result

    def run(self, result: dg.ExecuteInProcessResult) -> dict[str, str]:
        run = self.instance.get_run_by_id(result.run_id)
        assert run is not None
        return dict(run.tags)

    def tick_until(self, ws: Workspace, name: str, status: str) -> Tick:
        """The tick after the job has come to this state."""
        until(lambda: get_job(ws, name).status == status or None, 60, f"job {name} is not {status}")
        return self.sensor.tick()

    def take_up(self, tick: Tick) -> dg.ExecuteInProcessResult:
        (request,) = tick.requests
        return self.sensor.run(request)


def leaver(instance: dg.DagsterInstance, lineage: Lineage, name: str, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """A run that has left the job, and is at this."""
    run_id = str(uuid.uuid4())
    tags = tags_of_leaver(run_id, name, lineage.key(FINETUNE_JOB), lineage)
    return add_run(instance, tags, status, run_id)


def add_run(
    instance: dg.DagsterInstance, tags: Mapping[str, str], status: dg.DagsterRunStatus, run_id: str | None = None
) -> dg.DagsterRun:
    """A run as the instance has it in its storage; nothing executes it."""
    run = dg.DagsterRun(job_name="finetune", run_id=run_id or str(uuid.uuid4()), tags=dict(tags), status=status)
    return instance.run_storage.add_run(run)


class Crowd:
    """Copies of a completed job's documents, which nothing executes, in any state."""

    def __init__(self, emulator: Connection, template: str) -> None:
        self._emulator = emulator
        self._store = Store(next(emulator.directory.glob("*.sqlite*")))
        self._template = template
        self._planted: list[tuple[str, str]] = []

    def plant(self, name: str, experiment: str, status: str, step_status: str, loss: float | None = None) -> None:
        """A job of one step, in these states; `loss` is the last that its step has recorded."""
        store, root = self._store, self._template
        below = [entry["run_id"] for entry in store.list("run_descendant", f"{root}/")]
        runs = {run_id: store.get("run", run_id) or {} for run_id in below}
        (step,) = set(below) - {run["parent_run_id"] for run in runs.values()}
        names = {root: name, **{run_id: str(uuid.uuid4()) for run_id in below}}

        def renamed(text: str) -> str:
            for old, new in names.items():
                text = text.replace(old, new)
            return text

        def copy(kind: str, key: str, **changes: Any) -> None:
            store.put(kind, renamed(key), json.loads(renamed(json.dumps(store.get(kind, key)))) | changes)
            self._planted.append((kind, renamed(key)))

        unended = {"ended": None} if status == "Running" else {}
        copy("job", root, status=status)
        for run_id in (root, *below):
            state = step_status if run_id == step else status
            unstarted = {"started": None} if state == "Queued" else {}
            copy("run", run_id, status=state, experiment=experiment, **unended, **unstarted)
        for run_id in below:
            copy("run_descendant", f"{root}/{run_id}")
        if loss is not None:
            folder = self._emulator.directory / "runs" / names[step]
            folder.mkdir(parents=True)
            point = {"name": "loss", "value": loss, "step": 7, "timestamp": 1_790_000_000}
            (folder / "metrics.jsonl").write_text(json.dumps(point) + "\n", encoding="utf-8")

    def leave(self) -> None:
        """They are gone."""
        for kind, key in self._planted:
            self._store.delete(kind, key)
        self._store.close()
