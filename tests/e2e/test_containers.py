"""The image, and runs that are containers of it: they share database, storage account and the emulator's address."""

import os
from collections.abc import Iterator

import dagster as dg
import pytest

from phi_assets.azureml.connection.status import JobStatus
from phi_assets.config.dataset import SAMPLED_SPLITS, SPLITS
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from tests.azureml.toys import write_registry
from tests.azurite import Azurite
from tests.connections import workspace_of
from tests.e2e.harness.docker_engine import IMAGE, Engine, needs_docker, running_engine
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

INSTANCE = ("dagster", "workspace")
PREPARE = ["source", *(f"raw_{split}" for split in SPLITS), *(f"sampled_{split}" for split in SAMPLED_SPLITS)]
TRAIN = ["preflight", "foundation_model", "finetune_compute", "finetune_job", "registered_model"]
SERVE = ["online_endpoint", "online_deployment", "live_traffic", "base_answers", "scoring_result"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("docker")) as engine:
        print(f"\nThe image was built in {engine.build_seconds:.0f} s")
        yield engine


@pytest.fixture(scope="module")
def toy(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, postgres: Server, azurite: Azurite
) -> Iterator[ToyDeployment]:
    home = tmp_path_factory.mktemp("containers")
    connection = process.ensure_running(home / "emulator")
    try:
        write_registry(connection.directory / "registry")
        changes = {"parameters": {"gate": str(home / "gate")}, "contract": {"tokenizer": "/tokenizer.json"}}
        recipe = write_toy_recipe(home / "recipe.yaml", changes)
        # What the emulator is found and trusted by.
        for path in [connection.directory, *connection.directory.glob("*"), *connection.directory.glob("tls/*")]:
            os.chown(path, _OWNER, _OWNER)
        volumes = [
            f"{connection.directory}:{HOME}/emulator",
            f"{recipe}:/recipe.yaml:ro",
            f"{_TOKENIZER}:/tokenizer.json:ro",
        ]
        azurite.container("containers")
        shared = {
            "PHI_RECIPE": "/recipe.yaml",
            "PHI_DATA": "az://containers/data",
            "PHI_STORAGE": "az://containers/refs",
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
        }
        variables = variables_of(postgres.new_database(), engine, shared)
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
    image = engine.client.images.get(IMAGE)
    print(f"\n{image.attrs['Size'] / 1e6:.0f} MB")
    assert image.attrs["Size"] < _LARGEST
    assert image.attrs["Config"]["User"] == f"{_OWNER}:{_OWNER}"
    program = """
import importlib.util as util, os, pathlib
print(os.getuid(), [name for name in ("torch", "transformers", "pip") if util.find_spec(name)])
print(sorted(pathlib.Path("/").glob("wheels")), os.access("/opt/phi/lib", os.W_OK))
print(*sorted(str(path) for path in pathlib.Path("/opt/dagster").glob("*/*.yaml") if path.is_file()))
"""
    owner, writable, instances = engine.run("python", "-c", program).splitlines()
    assert (owner, writable) == (f"{_OWNER} []", "[] False")
    shipped = [f"/opt/dagster/{each}/{name}.yaml" for each in ("container-apps", "docker") for name in INSTANCE]
    assert {*shipped} <= {*instances.split()}
    assert "materialize" in engine.run("phi-assets", "--help")


def kill(toy: ToyDeployment, run_id: str) -> str:
    """Id of the run that follows, once the container of this one is killed."""
    assert isinstance(toy.dagster, DagsterInContainers)
    container = toy.dagster.container(run_id)
    assert os.environ["DAGSTER_POSTGRES_PASSWORD"] not in str(container.attrs["Config"]["Cmd"])
    container.kill()
    assert toy.dagster.wait(run_id) is S.FAILURE
    return toy.dagster.retry_of(run_id)


def succeeds(toy: ToyDeployment, run_id: str) -> None:
    assert toy.dagster.wait(run_id, timeout=_SECONDS) is S.SUCCESS, toy.dagster.failures(run_id)


def running_job(toy: ToyDeployment, run_id: str) -> str:
    """The run's job, once it runs: it waits for the gate."""
    # A container begins with the seconds of its imports.
    toy.dagster.wait_for_message(run_id, "Action: submitted.", timeout=_SECONDS)
    job = toy.job_of(run_id)
    toy.wait_for_job(job, JobStatus.RUNNING)
    return job


def test_one_prepares_another_trains_and_a_third_serves_and_each_is_killed_once(
    toy: ToyDeployment, azurite: Azurite
) -> None:
    dagster = toy.dagster

    first = dagster.launch("finetune_and_deploy", assets=PREPARE)
    dagster.until(lambda: dagster.materializations("sampled_test_gen") or None, _SECONDS, "Nothing is prepared")
    prepared = kill(toy, first)
    succeeds(toy, prepared)

    second = dagster.launch("finetune_and_deploy", assets=TRAIN)
    job = running_job(toy, second)
    trained = kill(toy, second)
    dagster.wait_for_message(trained, f"Job {job} is Running. Action: attached.", timeout=_SECONDS)
    toy.open_gate()
    succeeds(toy, trained)

    route = "/onlineendpoints/{endpoint}/deployments/{name}"
    fault = toy.control.add_fault(action="hold", count=1, method="PUT", route=route, when="after")
    third = dagster.launch("finetune_and_deploy", assets=SERVE)
    toy.control.wait_until_held(fault, timeout=_SECONDS)
    served = kill(toy, third)
    toy.control.release(fault)
    succeeds(toy, served)

    runs = (first, prepared, second, trained, third, served)
    assert len({dagster.run(run_id).tags["docker/container_id"] for run_id in runs}) == len(runs)
    assert toy.job_names() == [job]
    assert dagster.metadata(dagster.materializations("online_deployment")[0])["action"] == "reused"
    blobs = [blob.name for blob in azurite.container("containers").list_blobs()]
    assert {name.split("/")[0] for name in blobs} == {"data", "refs"}
    assert {name.split("/")[-2] for name in blobs if name.startswith("refs/")} == {*PREPARE, *TRAIN, *SERVE} - {
        "preflight"
    }


def test_a_run_that_is_terminated_cancels_its_job_before_its_container_ends(toy: ToyDeployment) -> None:
    toy.control.reset()
    toy.gate.unlink()
    run_id = toy.dagster.launch("finetune_and_deploy", assets=TRAIN)
    job = running_job(toy, run_id)
    toy.dagster.terminate(run_id)
    assert toy.dagster.wait(run_id) is S.CANCELED
    assert toy.job_status(job) is JobStatus.CANCELED
