"""The image, and runs that are containers of it: they share database, storage account and the emulator's address."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import dagster as dg
import pytest

from phi_assets.azureml.connection.inventory import endpoint_state
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.serving.deployments import deployment_name
from phi_assets.config.dataset import SPLITS
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from tests.azureml.toys import write_registry
from tests.azurite import ACCOUNT, Azurite
from tests.connections import workspace_of
from tests.e2e.harness.docker_engine import IMAGE, Engine, needs_docker, running_engine
from tests.e2e.harness.held_storage import HeldStorage, When, held_storage
from tests.e2e.harness.in_containers import HOME, DagsterInContainers, variables_of
from tests.e2e.harness.run_records import FINISHED
from tests.e2e.harness.toy_deployment import ENDPOINT, ToyDeployment, registered
from tests.postgres import Server, needs_postgresql
from tests.toy_graph import MODEL_NAME, write_toy_recipe

S = dg.DagsterRunStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_docker, needs_postgresql]

_LARGEST = 1_500_000_000
"""Bytes of the image, of which the base that stands in for the official one has 265 million."""

_TOKENIZER = PROJECT_ROOT / "phi_assets/emulator/registry/models/phi3-tiny/data/tokenizer/tokenizer.json"

_SECONDS = 300

_OWNER = 1000
"""Whose the processes in a container are."""

INSTANCE = ("dagster", "workspace")
JOB = "finetune_and_deploy"
TRAIN = ["preflight", "foundation_model", "finetune_compute", "finetune_job", "registered_model"]


class Held(Protocol):
    """A request that is waited for, and kept once it comes."""

    def is_held(self) -> bool: ...

    def drop(self) -> None: ...


@dataclass(frozen=True)
class Fault:
    """One that the emulator keeps."""

    control: Control
    id: str
    when: When

    def is_held(self) -> bool:
        return self.control.fault(self.id).holding > 0

    def drop(self) -> None:
        self.control.release(self.id, discard=self.when == "before")


@dataclass(frozen=True)
class Step:
    """What one container does, and the request that it is busy with when it is killed.

    `to` is a route of the workspace, or a pattern of names in the storage account. Killed `before`, the request is
    lost; killed `after`, it was processed, and its answer is lost.
    """

    assets: tuple[str, ...]
    method: str
    to: str
    when: When
    action: str | None = None
    """What the second container says that it did, of those that say so."""

    def hold(self, control: Control, storage: HeldStorage) -> Held:
        """From now on the next such request is kept."""
        if not self.to.startswith("/"):
            return storage.hold(self.method, f"/containers/{self.to}", self.when)
        fault = {"action": "hold", "count": 1, "method": self.method, "route": self.to, "when": self.when}
        return Fault(control, control.add_fault(**fault), self.when)


def step(*assets: str, at: tuple[str, str, When], action: str | None = None) -> Step:
    return Step(assets, *at, action)


ENDPOINTS, DEPLOYMENTS = "/onlineendpoints/{endpoint}", "/onlineendpoints/{endpoint}/deployments/{name}"
MODELS, COMPUTES, JOBS = "/models/{name}/versions/{version}", "/computes/{name}", "/jobs/{name}"
FINETUNE_JOB = step("finetune_job", at=("PUT", JOBS, "after"), action="attached")

WAVES = [
    [
        step("source", at=("PUT", "refs/bundled/source/", "after")),
        step("preflight", at=("GET", "/usages", "before")),
    ],
    [
        *(step(f"raw_{split}", at=("PUT", f"data/.*{split}", "before")) for split in SPLITS),
        step("foundation_model", at=("GET", MODELS, "after")),
        step("online_endpoint", at=("PUT", ENDPOINTS, "after"), action="reused"),
    ],
    [
        step("sampled_test_sft", at=("PUT", "data/.*/test_sft.jsonl", "before")),
        step("sampled_test_gen", at=("PUT", "data/.*/test_gen.parquet", "after")),
        step("finetune_compute", at=("PUT", COMPUTES, "after"), action="reused"),
    ],
    [
        # One step makes both.
        step("sampled_train_sft", "sampled_validation_sft", at=("PUT", "data/.*/validation_sft.jsonl", "before")),
        step("sampled_train_gen", at=("PUT", "refs/toy/sampled_train_gen/", "before")),
    ],
    [FINETUNE_JOB],
    [step("registered_model", at=("PUT", MODELS, "after"), action="reused")],
    [step("online_deployment", at=("PUT", DEPLOYMENTS, "after"), action="reused")],
    [step("live_traffic", at=("PUT", ENDPOINTS, "after"), action="reused")],
    # Answers that were kept are known to the next container, whatever has become of who asked for them.
    [step("base_answers", at=("PUT", "data/base_answers/", "after"), action="reused")],
    [step("scoring_result", at=("PUT", "data/scoring/answers-", "after"), action="scored")],
]
"""What can be done at the same time, and after what."""

STEPS = [each for wave in WAVES for each in wave]

CREATED = {
    ("PUT", COMPUTES): 1,
    ("PUT", "/data/{name}/versions/{version}"): 3,
    ("PUT", JOBS): 1,
    ("PUT", MODELS): 1,
    # The base model had one too, which is gone.
    ("PUT", DEPLOYMENTS): 2,
}
"""Requests that have made something new."""

ASKED = {"smoke gate": 3, "base model": 2, "live model": 2}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("docker")) as engine:
        print(f"\nThe image was built in {engine.build_seconds:.0f} s")
        yield engine


@pytest.fixture(scope="module")
def storage(azurite: Azurite) -> Iterator[HeldStorage]:
    azurite.container("containers")
    with held_storage(azurite) as storage:
        yield storage


@pytest.fixture(scope="module")
def toy(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, postgres: Server, storage: HeldStorage
) -> Iterator[ToyDeployment]:
    home = tmp_path_factory.mktemp("containers")
    connection = process.ensure_running(home / "emulator")
    try:
        write_registry(connection.directory / "registry")
        changes = {"parameters": {"gate": str(home / "gate")}, "contract": {"tokenizer": "/tokenizer.json"}}
        recipe = write_toy_recipe(home / "recipe.yaml", changes)
        # What the emulator is found and trusted by, once a container has put together whom it trusts.
        for path in [connection.directory, *connection.directory.glob("*"), *connection.directory.glob("tls/*")]:
            os.chown(path, _OWNER, _OWNER)
        address = f"{connection.directory}:{HOME}/emulator"
        engine.run("python", "-m", "phi_assets.emulator", "env", volumes=[address])
        # Nothing that a container has written is on a disk that another one sees.
        volumes = [f"{address}:ro", f"{recipe}:/recipe.yaml:ro", f"{_TOKENIZER}:/tokenizer.json:ro"]
        shared = {
            "PHI_RECIPE": "/recipe.yaml",
            "PHI_DATA": "az://containers/data",
            "PHI_STORAGE": "az://containers/refs",
            "AZURE_STORAGE_CONNECTION_STRING": storage.account.connection_string,
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


def kill(toy: ToyDeployment, run_id: str) -> None:
    """The container of the run is gone, in which a step had begun and none had ended."""
    assert isinstance(toy.dagster, DagsterInContainers)
    happened = {entry.dagster_event.event_type for entry in toy.dagster.events(run_id) if entry.dagster_event}
    assert dg.DagsterEventType.STEP_START in happened
    assert not happened & {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.STEP_SUCCESS}
    container = toy.dagster.container(run_id)
    assert os.environ["DAGSTER_POSTGRES_PASSWORD"] not in str(container.attrs["Config"]["Cmd"])
    container.kill()


def killed_at_work(toy: ToyDeployment, storage: HeldStorage, steps: Sequence[Step]) -> dict[Step, tuple[str, str]]:
    """The run of each step whose container was killed at its request, and the one that Dagster has started after it."""
    held = {step: step.hold(toy.control, storage) for step in steps}
    runs = {step: toy.dagster.launch(JOB, assets=step.assets) for step in steps}
    left = [*steps]

    def all_killed() -> bool | None:
        for step in [each for each in left if held[each].is_held()]:
            kill(toy, runs[step])
            held[step].drop()
            left.remove(step)
        ended = [each for each in left if toy.dagster.status(runs[each]) in FINISHED]
        assert not ended, {each.assets: toy.dagster.failures(runs[each]) for each in ended}
        return None if left else True

    toy.dagster.until(all_killed, _SECONDS, f"Not each of {[each.assets for each in steps]} sends its request")
    assert {toy.dagster.wait(run_id) for run_id in runs.values()} == {S.FAILURE}
    return {step: (run_id, toy.dagster.retry_of(run_id)) for step, run_id in runs.items()}


def succeeds(toy: ToyDeployment, run_id: str) -> None:
    assert toy.dagster.wait(run_id, timeout=_SECONDS) is S.SUCCESS, toy.dagster.failures(run_id)


def running_job(toy: ToyDeployment, run_id: str) -> str:
    """The run's job, once it runs: it waits for the gate."""
    # A container begins with the seconds of its imports.
    toy.dagster.wait_for_message(run_id, "Action: submitted.", timeout=_SECONDS)
    job = toy.job_of(run_id)
    toy.wait_for_job(job, JobStatus.RUNNING)
    return job


def test_each_step_has_a_machine_of_its_own_which_is_killed_once_while_it_is_at_work(
    toy: ToyDeployment, storage: HeldStorage, azurite: Azurite
) -> None:
    dagster, started = toy.dagster, toy.control.last_entry()
    assert sorted(asset for each in STEPS for asset in each.assets) == sorted(dagster.assets_of(JOB))
    runs: dict[Step, tuple[str, str]] = {}
    for wave in WAVES:
        began = time.monotonic()
        runs |= killed_at_work(toy, storage, wave)
        if FINETUNE_JOB in wave:
            dagster.wait_for_message(runs[FINETUNE_JOB][1], "Action: attached.", timeout=_SECONDS)
            toy.open_gate()
        for each in wave:
            succeeds(toy, runs[each][1])
        print(f"{time.monotonic() - began:.0f} s for {', '.join(asset for each in wave for asset in each.assets)}")

    machines = {dagster.run(run_id).tags["docker/container_id"] for pair in runs.values() for run_id in pair}
    assert len(machines) == 2 * len(STEPS)
    recorded = {asset: dagster.materializations(asset) for each in STEPS for asset in each.assets}
    assert {asset: [record.run_id for record in found] for asset, found in recorded.items()} == {
        asset: [runs[each][1]] for each in STEPS for asset in each.assets
    }
    said = {each: dagster.metadata(recorded[each.assets[0]][0])["action"] for each in STEPS if each.action}
    assert said == {each: each.action for each in said}

    assert_nothing_is_there_twice(toy, started)
    assert_only_data_and_refs_are_shared(azurite)


def assert_nothing_is_there_twice(toy: ToyDeployment, since: int) -> None:
    """The workspace is as after a run that nobody has disturbed, and nothing was asked for again."""
    answers = Counter((entry.method, entry.route, entry.status) for entry in toy.control.journal(since))
    assert {request: answers[(*request, 201)] for request in CREATED} == CREATED
    assert answers["POST", "/endpoints/{endpoint}/score", 200] == sum(ASKED.values())
    ml = toy.workspace.ml
    assert len(toy.job_names()) == len([*ml.compute.list()]) == len([*ml.models.list(name=MODEL_NAME)]) == 1
    assert [len([*ml.data.list(name=data.name)]) for data in ml.data.list()] == [1, 1, 1]
    assert [endpoint.name for endpoint in ml.online_endpoints.list()] == [ENDPOINT]
    found, live = endpoint_state(toy.workspace, ENDPOINT), deployment_name(registered(toy))
    assert (dict(found.traffic), set(found.deployments)) == ({live: 100}, {live})


def assert_only_data_and_refs_are_shared(azurite: Azurite) -> None:
    """Each file that is named by its content was sent once, and every asset has left its ref."""
    names = [blob.name for blob in azurite.container("containers").list_blobs()]
    assert {name.split("/")[0] for name in names} == {"data", "refs"}
    sent = Counter(
        each.path.partition("?")[0] for each in azurite.requests() if (each.method, each.status) == ("PUT", 201)
    )
    named = [name for name in names if re.fullmatch(r"data/\w+/[0-9a-f]{32}/[^/]+", name)]
    assert len(named) >= 2 * len(SPLITS)
    assert {sent[f"/{ACCOUNT}/containers/{name}"] for name in named} == {1}
    assets = {asset for each in STEPS for asset in each.assets}
    assert {name.split("/")[-2] for name in names if name.startswith("refs/")} == assets - {"preflight"}


def test_a_run_that_is_terminated_cancels_its_job_before_its_container_ends(toy: ToyDeployment) -> None:
    toy.control.reset()
    toy.gate.unlink()
    run_id = toy.dagster.launch(JOB, assets=TRAIN)
    job = running_job(toy, run_id)
    toy.dagster.terminate(run_id)
    assert toy.dagster.wait(run_id) is S.CANCELED
    assert toy.job_status(job) is JobStatus.CANCELED
