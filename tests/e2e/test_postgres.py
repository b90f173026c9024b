"""The instance is PostgreSQL: the graph, its runs and its daemon do there what they do on SQLite, at every point."""

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.benchmarks import planning
from tests.e2e.harness.beside import write_second_recipe
from tests.e2e.harness.snapshot import Snapshot
from tests.e2e.harness.toy_deployment import ToyDeployment, toy_deployment
from tests.e2e.kill_points import RECIPE
from tests.e2e.test_kill_matrix import (
    TABLES,
    served,
    test_killed_while_rolling_back,
    test_killed_while_serving,
    test_killed_while_training,
    trained,
)
from tests.postgres import Database, Server, needs_postgresql

__all__ = [
    "served",
    "test_killed_while_rolling_back",
    "test_killed_while_serving",
    "test_killed_while_training",
    "trained",
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), needs_postgresql]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.function.__name__ in TABLES:
        metafunc.parametrize("name", TABLES[metafunc.function.__name__])


@pytest.fixture(scope="module")
def database(postgres: Server) -> Database:
    return postgres.new_database()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, database: Database) -> Iterator[ToyDeployment]:
    home = tmp_path_factory.mktemp("postgres")
    with toy_deployment(home, RECIPE, "by hand", write_second_recipe(home), storage=database.storage) as toy:
        yield toy


def test_nothing_was_recorded_anywhere_else(toy: ToyDeployment, database: Database, served: Snapshot) -> None:
    [(events, size)] = database.query("SELECT count(*), pg_total_relation_size('event_logs') FROM event_logs")
    [(whole,)] = database.query("SELECT pg_database_size(current_database())")
    print(
        f"\n{len(toy.dagster.instance.get_runs())} runs, {events} events in {size / 1e6:.1f} MB of {whole / 1e6:.1f} MB"
    )
    assert not list(toy.dagster.home.rglob("*.db"))
    statuses = dict(database.query("SELECT run_id, status FROM runs"))
    assert statuses == {run.run_id: run.status.value for run in toy.dagster.instance.get_runs()}
    assert dg.DagsterRunStatus.SUCCESS.value in statuses.values()


def test_what_a_fine_tune_needs_is_measured_phase_by_phase(toy: ToyDeployment, database: Database) -> None:
    toy.clean()
    since = toy.control.last_entry()
    found = planning.one_fine_tune(toy, database, window=1)
    asked = toy.control.last_entry() - since
    assert found.processes_mb.keys() == {"code-server"}
    assert found.peak_mb.keys() == found.requests.keys() == planning.PHASES.keys()
    assert all(megabytes > 10 for megabytes in (found.waiting_mb, *found.processes_mb.values()))
    assert found.requests["prepare data"] == 0
    assert all(count > 0 for phase, count in found.requests.items() if phase != "prepare data")
    assert sum(found.requests.values()) <= asked
    assert 0 < found.looks <= found.requests_of_looks
    assert 100 < found.events < 1000
    assert found.event_bytes > 0
