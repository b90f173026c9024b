"""Whatever happens to workers and jobs, in any order: one live job per fine-tune, nothing recorded without proof."""

import itertools
import signal
from collections import Counter
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlencode

import dagster as dg
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from hypothesis.strategies import DataObject, data, sampled_from

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.emulator.process import Connection
from phi_assets.graph.training.assets import JOB_TAG
from tests.e2e.harness import worker
from tests.e2e.harness.processes import until
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import key_of, write_toy_recipe

EXAMPLES, STEPS = 8, 16
PATIENCE = 60
EVENTS = {"submitted", "attached", "reused", "SIGKILL", "SIGTERM", "complete", "fail", "nothing", "cancel", "delete"}
"""What has to have happened at least once, or the test has shown nothing."""

API_VERSION = "2025-12-01"

UPSTREAM = [
    "sampled_train_sft",
    "sampled_validation_sft",
    "sampled_test_sft",
    "foundation_model",
    "finetune_compute",
]


@dataclass(frozen=True)
class Job:
    """A job as the service lists it."""

    name: str
    status: JobStatus


class World:
    """Fine-tunes that share everything but a parameter, each with a gate that its job waits for."""

    def __init__(self, emulator: Connection, workspace: Workspace, folder: Path) -> None:
        self.home, self.workspace, self.folder = emulator.directory.parent, workspace, folder
        self.storage, self.instance_folder = folder / "storage", folder / "dagster"
        self.instance_folder.mkdir()
        self.instance = dg.DagsterInstance.local_temp(str(self.instance_folder))
        graph = Graph(self.home, self.recipe("upstream"), self.storage, self.instance)
        result = graph.materialize(" or ".join(f'+key:"{key}"' for key in UPSTREAM))
        assert result.success, failure_message(result)

    def gate(self, name: str) -> Path:
        return self.folder / f"{name}.gate"

    def recipe(self, name: str) -> Path:
        changes = {
            "parameters": {"prefix": name, "gate": str(self.gate(name))},
            "finetune": {"attempts": 10},
            "compute": {"name": "exactly-once"},
        }
        return write_toy_recipe(self.folder / f"{name}.yaml", changes)

    def start(self, name: str) -> BaseProcess:
        return worker.start(self.home, self.recipe(name), self.storage, self.instance_folder, 'key:"finetune_job"')

    def jobs(self, name: str) -> list[Job]:
        """The fine-tune's jobs."""
        # As the service says it: entities of the SDK cost a hundred times more, and every step of every example asks.
        query = {"api-version": API_VERSION, "tag": f"phi/parameter/prefix={name}"}
        url = f"{self.workspace.resource_manager}{self.workspace.path}/jobs?{urlencode(query)}"
        found = self.workspace.http.get(url, headers=self.headers()).raise_for_status().json()
        assert not found.get("nextLink")
        return [Job(job["name"], JobStatus(job["properties"]["status"])) for job in found["value"]]

    def live(self, name: str) -> list[str]:
        return [job.name for job in self.jobs(name) if job.status.is_active]

    def announced(self) -> set[str]:
        """Those of the newest runs that have a job, submitted or found."""
        return {run.run_id for run in self.instance.get_runs(limit=3) if JOB_TAG in run.tags}

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.workspace.bearer()}"}

    def forget(self, job: str) -> None:
        """Delete a job that has ended."""
        url = f"{self.workspace.resource_manager}{self.workspace.path}/jobs/{job}?api-version={API_VERSION}"
        self.workspace.http.delete(url, headers=self.headers()).raise_for_status()

    def materialized_jobs(self) -> list[str]:
        """Names of the jobs of all materializations, newest first."""
        records = self.instance.fetch_materializations(key_of("finetune_job"), limit=1000).records
        materializations = [record.asset_materialization for record in records]
        return [str(each.metadata["job_name"].value) for each in materializations if each]


class ExactlyOnce(RuleBasedStateMachine):
    """Two fine-tunes of an example, and all that may happen to their workers and jobs."""

    world: ClassVar[World]
    happened: ClassVar[Counter[str]]
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.number = next(self.numbers)
        self.workers: dict[str, BaseProcess] = {}
        self.seen: dict[str, list[Job]] = {}
        """The jobs of each fine-tune after the last step. Between two steps nothing ends or begins by itself."""
        self.recorded = len(self.world.materialized_jobs())

    @property
    def names(self) -> list[str]:
        """Two fine-tunes that no other example has."""
        return [f"{name}-{self.number}" for name in ("one", "other")]

    def alive(self, name: str) -> bool:
        process = self.workers.get(name)
        return process is not None and process.is_alive()

    @property
    def idle(self) -> list[str]:
        return [name for name in self.names if not self.alive(name)]

    @property
    def running(self) -> list[str]:
        return [name for name in self.names if any(job.status.is_active for job in self.seen[name])]

    @property
    def ended(self) -> list[str]:
        """Jobs that have ended, of fine-tunes that no worker looks at."""
        return [job.name for name in self.idle for job in self.seen[name] if job.status.is_terminal]

    def settle(self, name: str) -> None:
        """The worker has seen that its job has ended."""
        until(lambda: None if self.world.live(name) else True, PATIENCE, f"the job of {name} does not end")
        process = self.workers.get(name)
        if process is not None:
            process.join(PATIENCE)
            assert not process.is_alive(), "the worker waits although its job has ended"

    @precondition(lambda self: self.idle)
    @rule(data=data())
    def materialize(self, data: DataObject) -> None:
        """For the first time, again, or after whatever has happened."""
        self.do_materialize(data.draw(sampled_from(self.idle)))

    def do_materialize(self, name: str) -> None:
        was_live = self.world.live(name)
        if not was_live:
            self.world.gate(name).unlink(missing_ok=True)
        announced = self.world.announced()
        process = self.workers[name] = self.world.start(name)
        until(
            lambda: True if not process.is_alive() or self.world.announced() - announced else None,
            PATIENCE,
            "the worker neither found nor submitted a job",
        )
        self.happened["attached" if was_live else "submitted" if self.world.live(name) else "reused"] += 1

    @precondition(lambda self: len(self.idle) < 2)
    @rule(data=data(), how=sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def kill(self, data: DataObject, how: signal.Signals) -> None:
        self.do_kill(data.draw(sampled_from([name for name in self.names if name not in self.idle])), how)

    def do_kill(self, name: str, how: signal.Signals) -> None:
        process, before = self.workers[name], self.world.live(name)
        process.kill() if how is signal.SIGKILL else process.terminate()
        process.join(PATIENCE)
        # One that found a finished job may have been through before the signal came.
        assert process.exitcode != 0 or not before
        assert self.world.live(name) == before
        self.happened[how.name] += 1

    @precondition(lambda self: self.running)
    @rule(data=data(), outcome=sampled_from(["complete", "complete", "fail", "nothing", "cancel"]))
    def end(self, data: DataObject, outcome: str) -> None:
        """The job comes to its end by itself, or somebody cancels it in Azure ML."""
        self.do_end(data.draw(sampled_from(self.running)), outcome)

    def do_end(self, name: str, outcome: str) -> None:
        if outcome == "cancel":
            self.world.workspace.ml.jobs.begin_cancel(self.world.live(name)[0]).wait()
        else:
            partial = self.world.gate(name).with_suffix(".partial")
            partial.write_text(outcome)
            partial.rename(self.world.gate(name))
        self.settle(name)
        self.happened[outcome] += 1

    @precondition(lambda self: self.ended)
    @rule(data=data())
    def delete(self, data: DataObject) -> None:
        """Somebody deletes a job that has ended."""
        self.do_delete(data.draw(sampled_from(self.ended)))

    def do_delete(self, job: str) -> None:
        self.world.forget(job)
        self.happened["delete"] += 1

    @invariant()
    def at_most_one_live_job(self) -> None:
        self.seen = {name: self.world.jobs(name) for name in self.names}
        assert all(sum(job.status.is_active for job in self.seen[name]) <= 1 for name in self.names)

    @invariant()
    def nothing_is_materialized_without_a_completed_job(self) -> None:
        names = self.world.materialized_jobs()
        new = names[: len(names) - self.recorded]
        self.recorded = len(names)
        for name in new:
            job = self.world.workspace.ml.jobs.get(name)
            assert JobStatus.of(job) is JobStatus.COMPLETED

    def teardown(self) -> None:
        for process in self.workers.values():
            process.kill()
            process.join()
        for name in filter(self.world.live, self.names):
            self.world.gate(name).write_text("fail")


def everything_once() -> None:
    """A fixed story in which everything happens, whatever the machine draws afterwards."""
    machine = ExactlyOnce()
    name = machine.names[0]
    for how in (signal.SIGKILL, signal.SIGTERM):
        machine.do_materialize(name)
        machine.do_kill(name, how)
    for outcome in ("fail", "nothing", "cancel", "complete"):
        machine.do_materialize(name)
        machine.do_end(name, outcome)
        machine.at_most_one_live_job()
        machine.nothing_is_materialized_without_a_completed_job()
    machine.do_materialize(name)
    machine.settle(name)
    machine.at_most_one_live_job()
    machine.do_delete(machine.ended[0])
    machine.teardown()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_any_order_of_events_leaves_one_live_job_and_only_proven_materializations(
    clean_emulator: Connection, toys: Workspace, tmp_path: Path
) -> None:
    ExactlyOnce.world, ExactlyOnce.happened = World(clean_emulator, toys, tmp_path), Counter()
    everything_once()
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
    )
    run_state_machine_as_test(ExactlyOnce, settings=chosen)
    print(ExactlyOnce.happened)
    assert set(ExactlyOnce.happened) == EVENTS, ExactlyOnce.happened
