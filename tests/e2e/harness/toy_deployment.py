"""The toy graph on an emulator of its own, run by Dagster processes of its own."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.ownership import recipe_of
from phi_assets.azureml.serving.deployments import ensure_deployment
from phi_assets.azureml.serving.endpoints import ensure_endpoint
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.config.recipe_files import load_recipe
from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from phi_assets.graph.training.assets import JOB_TAG
from phi_assets.refs import RegisteredModelRef
from tests.azureml.toys import SIZE, write_registry
from tests.connections import workspace_of
from tests.e2e.harness.by_hand import DagsterByHand
from tests.e2e.harness.dagster_process import FAST_POLLS, DagsterProcess, Pace
from tests.e2e.harness.run_records import FINISHED
from tests.toy_graph import write_toy_recipe

ENDPOINT = "toy-completion"
BESIDE = "beside"
"""What the second recipe of a code location is called, where it has one."""

_JOB_SECONDS = 60


@dataclass
class ToyDeployment:
    """What a test drives and looks at."""

    home: Path
    dagster: DagsterProcess
    workspace: Workspace
    control: Control

    @property
    def emulator_directory(self) -> Path:
        return self.home / "emulator"

    @property
    def recipe(self) -> Path:
        return self.home / "recipe.yaml"

    @property
    def storage(self) -> Path:
        """Folder of the refs."""
        return self.home / "storage"

    @property
    def answers(self) -> Path:
        """Folder of the scored conversations."""
        return self.home / "data" / "scoring"

    @property
    def gate(self) -> Path:
        """Jobs go on running until this file exists; what is written into it is their outcome."""
        return self.home / "gate"

    def runs_beside(self) -> set[str]:
        """Ids of all runs that the second recipe has had."""
        return {run.run_id for run in self.dagster.instance.get_runs() if run.job_name.startswith(f"{BESIDE}__")}

    def clean(self) -> None:
        """As after the start: nothing was ever run here, and the gate is closed."""
        for run in self.dagster.runs():
            if run.status not in FINISHED:
                self.dagster.terminate(run.run_id)
                self.dagster.wait(run.run_id)
        self.control.reset()
        self.dagster.look_away()
        for folder in (self.storage, self.answers):
            shutil.rmtree(folder, ignore_errors=True)
        self.gate.unlink(missing_ok=True)

    def open_gate(self) -> None:
        """Jobs that run, and those to come, may end."""
        self.gate.touch()

    def job_of(self, run_id: str) -> str:
        """Name of the Azure ML job that a run has announced."""
        return self.dagster.until(
            lambda: self.dagster.run(run_id).tags.get(JOB_TAG), _JOB_SECONDS, f"Run {run_id} has no job"
        )

    def job_status(self, name: str) -> JobStatus:
        """As Azure ML has it now."""
        return JobStatus.of(self.workspace.ml.jobs.get(name))

    def wait_for_job(self, name: str, status: JobStatus) -> None:
        """The job is in that state.

        Raises:
            TimeoutError: it is not after a minute.
        """
        self.dagster.until(lambda: self.job_status(name) is status or None, _JOB_SECONDS, f"Job {name} is not {status}")

    def job_names(self) -> list[str]:
        """Every pipeline job of the workspace."""
        jobs: Any = self.workspace.ml.jobs.list()
        return sorted(str(job.name) for job in jobs)


@contextmanager
def toy_deployment(
    home: Path,
    changes: dict[str, dict[str, Any]] | None = None,
    pace: Pace | Literal["by hand"] = "quick",
    *others: Path,
    storage: Mapping[str, Any] | None = None,
) -> Iterator[ToyDeployment]:
    """Emulator and Dagster are up over a new PHI_HOME, their code location with the toy recipe; none is left over.

    `changes` are made to the recipe. For `by hand` see `DagsterByHand`. `others` are recipes beside it. `storage` is
    the instance's, where that is not SQLite.
    """
    connection = process.ensure_running(home / "emulator")
    try:
        write_registry(connection.directory / "registry")
        gate = home / "gate"
        recipe = write_toy_recipe(home / "recipe.yaml", {**(changes or {}), "parameters": {"gate": str(gate)}})
        recipes = ",".join(str(each) for each in (recipe, *others))
        env = {"PHI_HOME": str(home), "PHI_RECIPE": recipes, "PHI_STORAGE": str(home / "storage")}
        overrides = {**FAST_POLLS, "storage": storage} if storage else FAST_POLLS
        with (
            DagsterByHand(home, env, overrides)
            if pace == "by hand"
            else DagsterProcess(home, env, overrides, pace=pace) as dagster,
            Control(connection) as control,
            workspace_of(connection) as workspace,
        ):
            yield ToyDeployment(home, dagster, workspace, control)
    finally:
        process.stop(home / "emulator")


def registered(toy: ToyDeployment) -> RegisteredModelRef:
    """The model version that the graph has registered."""
    recipe = load_recipe(str(toy.recipe))
    versions = toy.workspace.ml.models.list(name=recipe.registered_model_name)
    (model,) = (version for version in versions if recipe_of(version.tags or {}) == recipe.name)
    return RegisteredModelRef(
        id=str(model.id), name=str(model.name), version=str(model.version), job_name="x", action="created"
    )


def serve_older_version(toy: ToyDeployment) -> None:
    """The endpoint answers with a deployment that this project made for another version of the model."""
    recipe = load_recipe(str(toy.recipe))
    older = registered(toy).model_copy(update={"version": "older", "job_name": "older"})
    endpoint = ensure_endpoint(toy.workspace, recipe.serving, owner=toy.workspace.owner(recipe.name))
    ensure_traffic(toy.workspace, endpoint, ensure_deployment(toy.workspace, endpoint, older, recipe.serving, [SIZE]))
