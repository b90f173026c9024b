"""A run whose process is gone is failed and holds no slot; whoever cannot be seen from here is left alone."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.daemon import MonitoringDaemon

from phi_assets.graph.automation.dead_runs import PROCESS_TAG, end_dead_runs
from phi_assets.graph.automation.run_launcher import LocalRunLauncher
from phi_assets.processes import this_process
from tests.namespaces import command, lines_of
from tests.postgres import needs_postgresql

GONE = this_process() + "0"
ELSEWHERE = "elsewhere/" + this_process().partition("/")[2]
POOL = "some-pool"
POSTGRESQL = "PostgreSQL"
NOT_STARTED, STARTED = dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED


@dg.job
def some_job() -> None:
    """Never executed."""


@pytest.fixture
def instance(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    on_postgresql = getattr(request, "param", "") == POSTGRESQL
    storage = {"storage": request.getfixturevalue("postgres").new_database().storage} if on_postgresql else {}
    with dg.instance_for_test(overrides=storage, temp_dir=str(tmp_path)) as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, 5)
        yield instance


def started(
    instance: dg.DagsterInstance, process: str | None, run_id: str = "", status: dg.DagsterRunStatus = STARTED
) -> str:
    """A run that is underway and holds a slot."""
    own = str(uuid.uuid4())
    tags = {PROCESS_TAG: f"{run_id or own}/{process}"} if process else {}
    instance.create_run_for_job(some_job, run_id=own, tags=tags, status=status)
    assert instance.event_log_storage.claim_concurrency_slot(POOL, own, "step").is_claimed
    return own


@pytest.mark.parametrize("status", [NOT_STARTED, STARTED])
@pytest.mark.parametrize("instance", ["SQLite", pytest.param(POSTGRESQL, marks=needs_postgresql)], indirect=True)
def test_only_a_run_whose_process_is_gone_is_ended(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    runs = {
        "gone": started(instance, GONE, status=status),
        "alive": started(instance, this_process(), status=status),
        "elsewhere": started(instance, ELSEWHERE, status=status),
        "unnamed": started(instance, None, status=status),
        "made from another one": started(instance, GONE, run_id=str(uuid.uuid4()), status=status),
    }
    assert [run.run_id for run in end_dead_runs(instance)] == [runs["gone"]]
    statuses = {name: instance.get_run_by_id(run_id).status for name, run_id in runs.items()}  # type: ignore[union-attr]
    assert statuses.pop("gone") is dg.DagsterRunStatus.FAILURE
    assert set(statuses.values()) == {status}
    holding = instance.event_log_storage.get_concurrency_info(POOL).active_run_ids
    assert holding == {run_id for name, run_id in runs.items() if name != "gone"}
    assert not end_dead_runs(instance)


@pytest.mark.parametrize(
    ("process", "healthy"),
    [(GONE, False), (this_process(), True), (ELSEWHERE, True)],
    ids=["gone", "alive", "elsewhere"],
)
def test_run_monitoring_notices_as_well(instance: dg.DagsterInstance, process: str, healthy: bool) -> None:
    launcher = LocalRunLauncher()
    launcher.register_instance(instance)
    run = instance.get_run_by_id(started(instance, process))
    assert run is not None
    assert (launcher.check_run_worker_health(run).status.value == "RUNNING") is healthy


def test_a_run_of_a_code_server_in_another_container_is_left_alone_while_that_is_alive(
    instance: dg.DagsterInstance,
) -> None:
    """As of two containers of one pod, which have one 127.0.0.1 and other numbers of processes."""
    assert lines_of("print()") == [""]
    listen = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    launcher = LocalRunLauncher()
    launcher.register_instance(instance)
    with subprocess.Popen(command(listen), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        info = json.dumps({"host": "localhost", "port": int(server.stdout.readline())})
        run = instance.create_run_for_job(some_job, tags={".dagster/grpc_info": info}, status=STARTED)
        number = EngineEventData({"pid": dg.MetadataValue.text(str(2**22 + 1))})
        instance.report_engine_event("Started process for run", run, number)
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        server.communicate("\n")
    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED


def test_the_daemon_marks_a_dead_run_of_a_command_as_failed(tmp_path: Path) -> None:
    """With its own code: such a run has no code server that could report it."""
    launcher = {"module": LocalRunLauncher.__module__, "class": LocalRunLauncher.__name__}
    settings = {"run_launcher": launcher, "run_monitoring": {"enabled": True}}
    with dg.instance_for_test(overrides=settings, temp_dir=str(tmp_path)) as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, 2)
        dead, alive = started(instance, GONE), started(instance, this_process())
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
            assert not any(MonitoringDaemon(interval_seconds=0).run_iteration(context))
        found = {run.run_id: run.status for run in instance.get_runs()}
    assert found == {dead: dg.DagsterRunStatus.FAILURE, alive: dg.DagsterRunStatus.STARTED}
