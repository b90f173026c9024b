"""The image, and runs that are containers of it: started by Dagster's own launcher, killed, started again."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from phi_assets.azureml.connection.status import JobStatus
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from tests.azureml.toys import write_registry
from tests.connections import workspace_of
from tests.e2e.harness.docker_engine import Engine, needs_docker, running_engine
from tests.e2e.harness.in_containers import HOME, DagsterInContainers, variables_of
from tests.e2e.harness.toy_deployment import ToyDeployment
from tests.postgres import Server, needs_postgresql
from tests.toy_graph import write_toy_recipe

S = dg.DagsterRunStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_docker, needs_postgresql]

_LARGEST = 1_500_000_000
"""Bytes of the image, of which the base that stands in for the official one has 265 million."""

_TOKENIZER = PROJECT_ROOT / "phi_assets/emulator/registry/models/phi3-tiny/data/tokenizer/tokenizer.json"

_SECONDS = 300

_OWNER = 1000
"""Whose the processes in a container are."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("docker")) as engine:
        print(f"\nThe image was built in {engine.build_seconds:.0f} s")
        yield engine


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, engine: Engine, postgres: Server) -> Iterator[ToyDeployment]:
    home = tmp_path_factory.mktemp("containers")
    connection = process.ensure_running(home / "emulator")
    try:
        write_registry(connection.directory / "registry")
        changes = {"parameters": {"gate": str(home / "gate")}, "contract": {"tokenizer": "/tokenizer.json"}}
        recipe = write_toy_recipe(home / "recipe.yaml", changes)
        # What the emulator is found and trusted by, and nothing that is written to.
        for path in [connection.directory, *connection.directory.glob("*"), *connection.directory.glob("tls/*")]:
            os.chown(path, _OWNER, _OWNER)
        volumes = [
            f"phi-home:{HOME}",
            f"{connection.directory}:{HOME}/emulator",
            f"{recipe}:/recipe.yaml:ro",
            f"{_TOKENIZER}:/tokenizer.json:ro",
        ]
        variables = variables_of(postgres.new_database(), engine, {"PHI_RECIPE": "/recipe.yaml"})
        with (
            pytest.MonkeyPatch.context() as patch,
            Control(connection) as control,
            workspace_of(connection) as workspace,
        ):
            for name, value in variables.items():
                patch.setenv(name, value)
            with DagsterInContainers(home, engine, variables, volumes) as dagster:
                yield ToyDeployment(home, dagster, workspace, control)
    finally:
        process.stop(home / "emulator")


def test_the_image_is_small_has_no_torch_and_runs_as_nobody_in_particular(engine: Engine) -> None:
    image = engine.client.images.get("phi-assets")
    print(f"\n{image.attrs['Size'] / 1e6:.0f} MB")
    assert image.attrs["Size"] < _LARGEST
    assert image.attrs["Config"]["User"] == f"{_OWNER}:{_OWNER}"
    program = """
import importlib.util as util, os, pathlib
print(os.getuid(), [name for name in ("torch", "transformers", "pip") if util.find_spec(name)])
print(sorted(pathlib.Path("/").glob("wheels")), os.access("/opt/phi/lib", os.W_OK))
"""
    assert engine.run("python", "-c", program).splitlines() == [f"{_OWNER} []", "[] False"]
    assert "materialize" in engine.run("phi-assets", "--help")


def running_job(toy: ToyDeployment, run_id: str) -> str:
    """The run's job, once it runs: it waits for the gate."""
    # A container begins with the seconds of its imports.
    toy.dagster.wait_for_message(run_id, "Action: submitted.", timeout=_SECONDS)
    job = toy.job_of(run_id)
    toy.wait_for_job(job, JobStatus.RUNNING)
    return job


def test_the_whole_graph_is_run_in_a_container_and_again_where_that_is_killed(toy: ToyDeployment) -> None:
    dagster = toy.dagster
    assert isinstance(dagster, DagsterInContainers)
    killed = dagster.launch("finetune_and_deploy")
    job = running_job(toy, killed)
    container = dagster.container(killed)
    assert os.environ["DAGSTER_POSTGRES_PASSWORD"] not in str(container.attrs["Config"]["Cmd"])
    container.kill()
    assert dagster.wait(killed) is S.FAILURE
    retry = dagster.retry_of(killed)
    dagster.wait_for_message(retry, f"Job {job} is Running. Action: attached.", timeout=_SECONDS)
    toy.open_gate()
    assert dagster.wait(retry, timeout=_SECONDS) is S.SUCCESS, dagster.failures(retry)
    assert dagster.run(retry).tags["docker/container_id"] != container.id
    assert toy.job_names() == [job]
    again = dagster.launch("finetune_and_deploy")
    assert dagster.wait(again, timeout=_SECONDS) is S.SUCCESS, dagster.failures(again)
    assert toy.job_names() == [job]
    assert dagster.metadata(dagster.materializations("finetune_job")[0])["action"] == "reused"
    assert not list(Path(toy.home).rglob("*.db"))


def test_a_run_that_is_terminated_cancels_its_job_before_its_container_ends(toy: ToyDeployment) -> None:
    toy.control.reset()
    toy.gate.unlink()
    run_id = toy.dagster.launch("finetune")
    job = running_job(toy, run_id)
    toy.dagster.terminate(run_id)
    assert toy.dagster.wait(run_id) is S.CANCELED
    assert toy.job_status(job) is JobStatus.CANCELED
