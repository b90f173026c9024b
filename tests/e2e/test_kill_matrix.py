"""kill -9 of the run worker at named points: Dagster starts the run again, and nothing is done twice or left undone.

Here the instance is SQLite. `test_postgres.py` has the same tests with every point.
"""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.inventory import endpoint_state
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.serving.deployments import deployment_name
from tests.azureml.toys import step_of
from tests.e2e.harness.beside import maybe_second_recipe, write_second_recipe
from tests.e2e.harness.snapshot import Snapshot, newest_refs, snapshot
from tests.e2e.harness.toy_deployment import ENDPOINT, ToyDeployment, registered, serve_older_version, toy_deployment
from tests.e2e.kill_points import (
    JOB,
    ON_SQLITE,
    RECIPE,
    ROLLBACK_POINTS,
    SERVING,
    SERVING_POINTS,
    TRAINING,
    TRAINING_POINTS,
    Point,
    on_sqlite,
)
from tests.hammer import Hammer
from tests.toy_graph import key_of

S = dg.DagsterRunStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TABLES = {
    "test_killed_while_training": TRAINING_POINTS,
    "test_killed_while_serving": SERVING_POINTS,
    "test_killed_while_rolling_back": ROLLBACK_POINTS,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.function.__name__ in TABLES:
        metafunc.parametrize("name", on_sqlite(TABLES[metafunc.function.__name__]))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyDeployment]:
    home = tmp_path_factory.mktemp("kill")
    with toy_deployment(home, RECIPE, "by hand", write_second_recipe(home)) as toy:
        yield toy


def start_all(toy: ToyDeployment) -> str:
    return toy.dagster.launch("finetune")


def start_training(toy: ToyDeployment) -> str:
    return toy.dagster.launch("finetune", assets=TRAINING)


def start_serving(toy: ToyDeployment) -> str:
    return toy.dagster.launch("finetune_and_deploy", assets=SERVING)


@pytest.fixture(scope="module")
def trained(toy: ToyDeployment) -> Snapshot:
    """What an undisturbed run of `finetune` leaves."""
    toy.clean()
    toy.open_gate()
    found = undisturbed(toy, start_all(toy))
    assert counts(found, "computes", "data", "jobs", "models") == [1, 3, 1, 1]
    for asset, path in newest_refs(toy.storage).items():
        if Path(asset).name not in TRAINING:
            # As an earlier release left them: no record of a run is needed to find them.
            kept = data_refs(toy) / f"{asset}.json"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kept)
    return found


def data_refs(toy: ToyDeployment) -> Path:
    """What is in the storage once the data has been prepared and nothing else has been done."""
    return toy.home / "data-refs"


def nothing_trained(toy: ToyDeployment, *, data: bool) -> None:
    """There is nothing, or all the `data` and nothing else."""
    toy.clean()
    if data:
        shutil.copytree(data_refs(toy), toy.storage)


def of_training(trained: Snapshot) -> Snapshot:
    """What a run leaves that found the data prepared."""
    versions = {asset: found for asset, found in trained["data_versions"].items() if Path(asset).name in TRAINING}
    return {**trained, "data_versions": versions}


@pytest.fixture(scope="module")
def served(toy: ToyDeployment) -> Snapshot:
    """What an undisturbed run of the serving assets leaves, once the model is there."""
    toy.clean()
    toy.open_gate()
    undisturbed(toy, toy.dagster.launch("finetune_and_deploy"))
    nothing_served(toy)
    found = undisturbed(toy, start_serving(toy))
    assert counts(found, "jobs", "models", "endpoints", "deployments", "answers", "leftovers") == [1, 1, 1, 1, 1, 0]
    return found


def undisturbed(toy: ToyDeployment, run_id: str) -> Snapshot:
    assert toy.dagster.wait(run_id) is S.SUCCESS, toy.dagster.failures(run_id)
    return snapshot(toy)


def counts(found: Snapshot, *kinds: str) -> list[int]:
    return [len(found[kind]) for kind in kinds]


def nothing_served(toy: ToyDeployment) -> None:
    """There is a model, but no endpoint, and no record of there having been one."""
    toy.workspace.ml.online_endpoints.begin_delete(name=ENDPOINT).wait()
    for asset in SERVING:
        shutil.rmtree(toy.storage.joinpath(*key_of(asset).path), ignore_errors=True)
    shutil.rmtree(toy.answers, ignore_errors=True)
    toy.dagster.look_away()


def test_killed_while_training(name: str, toy: ToyDeployment, trained: Snapshot) -> None:
    point = TRAINING_POINTS[name]
    nothing_trained(toy, data=not point.whole)
    if not point.while_running:
        toy.open_gate()
    (job,) = trained["jobs"]
    with maybe_second_recipe(toy, here=point.beside):
        retry = killed_and_started_again(toy, point, start_all if point.whole else start_training, job=job)
        assert_as_if_undisturbed(toy, retry, point, trained if point.whole else of_training(trained))
        assert created(toy, "PUT", JOB, job) == 1


def test_killed_while_serving(name: str, toy: ToyDeployment, served: Snapshot) -> None:
    point = SERVING_POINTS[name]
    nothing_served(toy)
    with maybe_second_recipe(toy, here=point.beside):
        with customers(toy) if point.takes_over else nullcontext():
            retry = killed_and_started_again(toy, point, start_serving)
        assert_as_if_undisturbed(toy, retry, point, served)


def test_killed_while_rolling_back(name: str, toy: ToyDeployment, served: Snapshot) -> None:
    nothing_served(toy)
    new = f"{ENDPOINT}/{deployment_name(registered(toy))}"
    point = ROLLBACK_POINTS[name]
    with maybe_second_recipe(toy, here=point.beside):
        with customers(toy) as hammer:
            toy.control.add_scenario("deployment", scenario="slow", match=new, seconds=1, exact=True)
            retry = killed_and_started_again(toy, point, start_serving, ends=S.FAILURE)
        toy.control.clear_scenarios()
        (failure,) = [text for text in toy.dagster.failures(retry) if "ft-" in text]
        assert "is worse than ft-older" in failure or "materialize online_deployment again" in failure
        found = endpoint_state(toy.workspace, ENDPOINT)
        assert (dict(found.traffic), set(found.deployments)) == ({"ft-older": 100}, {"ft-older"})
        assert set(hammer.answered) == {"ft-older"}
        assert served["models"] == snapshot(toy)["models"]


@contextmanager
def customers(toy: ToyDeployment) -> Iterator[Hammer]:
    """The endpoint serves an older version and is asked all the time, and every single request is answered."""
    serve_older_version(toy)
    with Hammer(toy.workspace, ENDPOINT, rate=10) as hammer:
        yield hammer
    print(f"\n{hammer}")
    assert hammer.failed == []


def killed_and_started_again(
    toy: ToyDeployment, point: Point, start: Any, *, job: str | None = None, ends: dg.DagsterRunStatus = S.SUCCESS
) -> str:
    """Id of the run that followed the killed one, and that has ended; `job` is the one that it may submit."""
    with toy.dagster.real_daemon() if point.daemon else nullcontext():
        return _killed_and_started_again(toy, point, start, job, ends)


def _killed_and_started_again(
    toy: ToyDeployment, point: Point, start: Any, job: str | None, ends: dg.DagsterRunStatus
) -> str:
    if point.while_running:
        run_id = start(toy)
        toy.wait_for_job(toy.job_of(run_id), JobStatus.RUNNING)
        fault = toy.control.add_fault(**point.fault(path_of(toy, point, job)))
    else:
        fault = toy.control.add_fault(**point.fault(path_of(toy, point, job)))
        run_id = start(toy)
    toy.control.wait_until_held(fault)
    os.kill(toy.dagster.worker_pid(run_id), signal.SIGKILL)
    if not point.arrives_late:
        toy.control.release(fault, discard=point.when == "before")
    assert toy.dagster.wait(run_id) is S.FAILURE
    retry = toy.dagster.retry_of(run_id)
    if point.while_running:
        toy.dagster.wait_for_message(retry, "Action: attached.")
        toy.open_gate()
    assert toy.dagster.wait(retry) is ends, toy.dagster.failures(retry)
    toy.control.release(fault)
    assert {run.run_id for run in toy.dagster.runs()} - toy.runs_beside() == {run_id, retry}
    return retry


def path_of(toy: ToyDeployment, point: Point, job: str | None) -> str | None:
    """What tells the point's requests from those of a run beside, which waits for its own job."""
    if job is not None and point.route == JOB:
        return attempts(job)
    if job is not None and point.while_running:
        return f"{step_of(toy.workspace, job).run_id}/{point.path}"
    return None


def attempts(job: str) -> str:
    """What the names of all attempts at the job begin with."""
    return job.rpartition("-r")[0]


def assert_as_if_undisturbed(toy: ToyDeployment, retry: str, point: Point, expected: Snapshot) -> None:
    assert snapshot(toy) == expected
    assert all(len(versions) == 1 for versions in expected["data_versions"].values())
    done = {asset: toy.dagster.metadata(toy.dagster.materializations(asset)[0])["action"] for asset in point.actions}
    assert done == point.actions
    toy.dagster.until(
        lambda: toy.dagster.slots_in_use("azureml") == 0 or None, 30, "Slots of the pool are still in use"
    )


def created(toy: ToyDeployment, method: str, route: str, job: str) -> int:
    """Requests that made something new: the job, or another attempt at it."""
    answers = Counter(
        (entry.method, entry.route, entry.status) for entry in toy.control.journal() if attempts(job) in entry.path
    )
    return answers[method, route, 201]


def test_a_crash_that_dagster_has_overlooked_is_put_right_by_hand(toy: ToyDeployment) -> None:
    toy.clean()
    with toy.dagster.real_daemon():
        run_id = toy.dagster.launch("finetune")
        job = toy.job_of(run_id)
        toy.wait_for_job(job, JobStatus.RUNNING)
        toy.dagster.stop_daemon()
        os.kill(toy.dagster.worker_pid(run_id), signal.SIGKILL)
        assert toy.dagster.wait(run_id) is S.FAILURE
        assert toy.dagster.is_retried(run_id)
        toy.dagster.overlook()
        toy.dagster.start_daemon()
        assert toy.dagster.is_overlooked(run_id)
        by_hand = toy.dagster.reexecute(run_id)
        toy.dagster.wait_for_message(by_hand, f"Job {job} is Running. Action: attached.")
        toy.open_gate()
        assert toy.dagster.wait(by_hand) is S.SUCCESS, toy.dagster.failures(by_hand)
        assert {run.run_id for run in toy.dagster.runs()} == {run_id, by_hand}


def test_on_sqlite_there_is_a_point_of_every_kind() -> None:
    for table in TABLES.values():
        of_all = {kind for point in table.values() for kind in kinds(point)}
        assert {kind for name in ON_SQLITE & {*table} for kind in kinds(table[name])} == of_all
    assert {name for table in TABLES.values() for name in table} >= ON_SQLITE


def kinds(point: Point) -> set[str]:
    flags = ("arrives_late", "while_running", "whole", "daemon", "takes_over", "beside")
    return {point.when, *(flag for flag in flags if getattr(point, flag))}
