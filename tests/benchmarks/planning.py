"""What a deployment needs: `python -m tests.benchmarks.planning`.

A fine-tune runs once with Dagster's own processes, on SQLite and on PostgreSQL: memory of each process, requests to
Azure ML, events, growth of the databases. Then jobs that no run waits for are looked after on PostgreSQL. The data and
the model are small, which changes memory and time of a preparation, and nothing else that is measured here.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import dagster as dg
from dagster._serdes import serialize_value
from rich.table import Table

from phi_assets.emulator import process
from tests.azureml.toys import write_registry
from tests.benchmarks import many_jobs
from tests.benchmarks.report import benchmarking, figures_table, write_json
from tests.benchmarks.watching import Span, Watcher, pss_mb, requests_in
from tests.e2e.harness.run_records import S
from tests.e2e.harness.toy_deployment import ToyDeployment, toy_deployment
from tests.postgres import Database, running_server

PHASES: Mapping[str, tuple[str, ...]] = {
    "prepare data": ("source", "raw_", "sampled_"),
    "preflight, model, cluster": ("preflight", "foundation_model", "finetune_compute"),
    "submit and wait": ("finetune_job",),
    "register": ("registered_model",),
    "deploy": ("online_", "live_traffic"),
    "score": ("base_answers", "scoring_result"),
}
"""How the names of the assets of a phase begin."""

_PATIENCE_SECONDS = 600


@dataclass
class FineTune:
    """One run of the whole graph."""

    processes_mb: dict[str, float]
    """Of webserver, daemon and code server, while the run waits for its job."""
    waiting_mb: float
    peak_mb: dict[str, float]
    """Most memory of the run's process in each phase."""
    requests: dict[str, int]
    """To Azure ML in each phase; `submit and wait` is without those of waiting."""
    looks: int
    """That the run took at its job within the time that it was made to wait."""
    requests_of_looks: int
    events: int
    event_bytes: int
    """Of the events as they are stored, without indexes."""
    database_bytes: int
    """By which the databases have grown."""


def one_fine_tune(toy: ToyDeployment, database: Database | None, window: float) -> FineTune:
    """A run of everything, which waits `window` seconds for its job; without a database, the instance is SQLite."""
    dagster = toy.dagster

    def size() -> int:
        return database.size() if database else sqlite_size(dagster.home)

    before = size()
    watcher = Watcher()
    with watcher.watching():
        run_id = dagster.launch("finetune_and_deploy")
        watcher.pid = dagster.worker_pid(run_id)
        name = toy.job_of(run_id)
        # Said once it runs; the workspace is asked by nobody but the run.
        dagster.wait_for_message(run_id, "toy_step | ")
        waits = time.time()
        dagster.until(lambda: time.time() - waits >= window or None, window + 60, "The time does not pass")
        waited = time.time()
        processes = {role: pss_mb(pid) for role, pid in dagster.pids.items()}
        toy.open_gate()
        status = dagster.wait(run_id, timeout=_PATIENCE_SECONDS)
    assert status is S.SUCCESS, dagster.failures(run_id)
    events = dagster.events(run_id)
    phases = phases_of(events)
    waiting = requests_in(toy.emulator_directory, (waits, waited))
    looks = [each for each in waiting if each.line.startswith("GET ") and each.line.endswith(f"/jobs/{name}")]
    requests = {phase: len(requests_in(toy.emulator_directory, *spans)) for phase, spans in phases.items()}
    requests["submit and wait"] -= len(waiting)
    return FineTune(
        processes,
        watcher.peak_in((waits, waited)),
        {phase: watcher.peak_in(*spans) for phase, spans in phases.items()},
        requests,
        len(looks),
        len(waiting),
        len(events),
        sum(len(serialize_value(event).encode()) for event in events),
        size() - before,
    )


def sqlite_size(dagster_home: Path) -> int:
    """Bytes of an instance's databases, with what still lay in their logs."""
    files = list(dagster_home.rglob("*.db"))
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(file.stat().st_size for file in files)


def phases_of(events: Sequence[dg.EventLogEntry]) -> dict[str, list[Span]]:
    """When the steps of each phase ran, one after the other."""
    steps: dict[str, Span] = {}
    for event in events:
        step = (event.step_key or "").rpartition("__")[2]
        if event.dagster_event and event.dagster_event.is_step_start:
            steps[step] = (event.timestamp, event.timestamp)
        elif step in steps:
            steps[step] = (steps[step][0], event.timestamp)
    return {
        phase: [span for step, span in steps.items() if step.startswith(begins)] for phase, begins in PHASES.items()
    }


@dataclass
class Report:
    """All that was measured."""

    fine_tunes: dict[str, FineTune]
    """By the database."""
    jobs: many_jobs.ManyJobs


@click.command(help=__doc__)
@click.option("--jobs", default=1000, show_default=True, help="Jobs that no run waits for.")
@click.option("--ended", default=100, show_default=True, help="How many of them end at once.")
@click.option("--ticks", default=5, show_default=True, help="Ticks of the sensor before that.")
@click.option("--window", default=60.0, show_default=True, help="Seconds for which a run waits for its job.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="The report as JSON.")
@click.option("--scratch", type=click.Path(path_type=Path), help="Folder for what is written.")
def main(jobs: int, ended: int, ticks: int, window: float, file: Path | None, scratch: Path | None) -> None:
    """Prints two tables."""
    with benchmarking(scratch) as (console, folder), running_server() as server:
        database = server.new_database()
        homes = {"SQLite": None, "PostgreSQL": database}
        fine_tunes = {}
        for name, storage in homes.items():
            home = folder / name
            with toy_deployment(home, pace="own", storage=storage.storage if storage else None) as toy:
                fine_tunes[name] = one_fine_tune(toy, storage, window)
        home = folder / "many"
        home.mkdir()
        emulator = process.ensure_running(home / "emulator")
        try:
            write_registry(emulator.directory / "registry")
            many = many_jobs.measure(emulator, server.new_database(), home, jobs=jobs, ended=ended, ticks=ticks)
        finally:
            process.stop(emulator.directory)
        report = Report(fine_tunes, many)
        console.print(fine_tune_table(report.fine_tunes))
        console.print(many_jobs.table_of(report.jobs))
        write_json(file, report)


def fine_tune_table(measured: Mapping[str, FineTune]) -> Table:
    """A column for each database."""
    table = figures_table("a fine-tune", *measured)
    runs = measured.values()

    def row(name: str, figure: Callable[[FineTune], float]) -> None:
        table.add_row(name, *(f"{figure(run):,.0f}" for run in runs))

    for role in next(iter(runs)).processes_mb:
        row(f"{role}, MB", lambda run, role=role: run.processes_mb.get(role, 0))
    row("a run that waits, MB", lambda run: run.waiting_mb)
    for phase in PHASES:
        row(f"{phase}: MB at most", lambda run, phase=phase: run.peak_mb[phase])
    for phase in PHASES:
        row(f"{phase}: requests", lambda run, phase=phase: run.requests[phase])
    row("looks at the job while it waits", lambda run: run.looks)
    row("requests of these", lambda run: run.requests_of_looks)
    row("events", lambda run: run.events)
    row("bytes of the events", lambda run: run.event_bytes)
    row("growth of the database, bytes", lambda run: run.database_bytes)
    return table


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
