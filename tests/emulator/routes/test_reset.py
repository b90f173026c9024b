"""Reset: nothing of what users made is left, nothing comes back, and the emulator goes on as a fresh one would."""

import asyncio
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from phi_assets.emulator import process
from phi_assets.emulator.chaos.occupancy import Occupancy
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.routes.reset import reset
from phi_assets.emulator.workspace.context import open_emulator
from tests.connections import workspace_of
from tests.emulator import testing_registry
from tests.emulator.http import arm_client, datastore_sas, raw_client
from tests.emulator.jobs import FILE, Jobs, connected, until
from tests.emulator.serving.echo import ask, write_echo_model
from tests.emulator.testing_registry import COPY, WAIT, data, literal, pipeline

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

pytestmark = pytest.mark.usefixtures("emulator_programs")

SHORT = pipeline(copy={"componentId": COPY, "inputs": {"source": data(FILE)}})
STUBBORN = pipeline(wait={"componentId": WAIT, "inputs": {"stubborn": literal("true")}})
CLUSTER = {
    "location": "emulator",
    "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC24ads_A100_v4"}},
}
# Twice the longest of the artificial durations at the emulator's time scale: what was to come back has come.
SETTLING_SECONDS = 0.5
TEMPLATE = "phi_assets.emulator.serving.processes.template"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, hermetic_environment: Path) -> Iterator[Connection]:
    """An emulator of this module's own: other tests need what they made in theirs."""
    directory = tmp_path_factory.mktemp("reset")
    testing_registry.install(directory)
    yield process.ensure_running(directory)
    process.stop(directory)


@pytest.fixture
def control(own: Connection) -> Iterator[Control]:
    with Control(own) as control:
        yield control
        control.reset()


@pytest.fixture
def client(own: Connection) -> Iterator[httpx.Client]:
    with arm_client(own) as client:
        yield client


@pytest.fixture
def jobs(own: Connection) -> Iterator[Jobs]:
    with connected(own) as jobs:
        yield jobs


@pytest.fixture
def workspace(own: Connection) -> Iterator["Workspace"]:
    with workspace_of(own) as workspace:
        yield workspace


def children(emulator: Connection) -> list[psutil.Process]:
    """Processes that the emulator has started and that run, but for the template of deployments, which stays."""
    server = psutil.Process(emulator.pid)
    found = [child for child in server.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in found if not (child.ppid() == server.pid and TEMPLATE in child.cmdline())]


def listed(client: httpx.Client) -> dict[str, list[Any]]:
    """What the workspace has, by kind."""
    kinds = ("computes", "jobs", "data", "models", "environments", "onlineEndpoints")
    return {kind: client.get(f"/{kind}").raise_for_status().json()["value"] for kind in kinds}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def is_empty(client: httpx.Client) -> bool:
    return not any(listed(client).values())


def make_one_of_each(workspace: "Workspace", jobs: Jobs, folder: Path) -> None:
    from azure.ai.ml.entities import AmlCompute, Data, ManagedOnlineEndpoint, Model

    (folder / "data.txt").write_text("content")
    ml: Any = workspace.ml
    ml.compute.begin_create_or_update(AmlCompute(name="cluster", size="Standard_NC24ads_A100_v4")).wait()
    ml.data.create_or_update(Data(name="data", version="1", path=str(folder / "data.txt"), type="uri_file"))
    ml.models.create_or_update(Model(name="model", version="1", path=str(folder), type="custom_model"))
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="endpoint", auth_mode="key")).wait()
    assert jobs.ended(jobs.submitted("job", SHORT)) == "Completed"


def test_nothing_that_was_made_is_left(
    own: Connection, control: Control, client: httpx.Client, jobs: Jobs, workspace: "Workspace", tmp_path: Path
):
    make_one_of_each(workspace, jobs, tmp_path)
    found = listed(client)
    assert {kind: len(values) for kind, values in found.items()} == {
        "computes": 1, "jobs": 1, "data": 1, "models": 1, "environments": 0, "onlineEndpoints": 1,
    }  # fmt: skip
    assert files(own.directory / "blobs")
    control.reset()
    assert is_empty(client)
    assert control.counts() == {f"GET /{kind.lower()}": 1 for kind in found}
    for folder in ("blobs", "runs", "deployments"):
        assert files(own.directory / folder) == []
    assert jobs.history("runs/job").status_code == 404
    time.sleep(SETTLING_SECONDS)
    assert is_empty(client)


def test_the_emulator_goes_on_as_a_fresh_one(
    own: Connection, control: Control, client: httpx.Client, jobs: Jobs, workspace: "Workspace", tmp_path: Path
):
    make_one_of_each(workspace, jobs, tmp_path)
    authorization = client.headers["Authorization"]
    url, query = datastore_sas(own)
    control.reset()
    # Tokens, signatures, datastores and the registry that somebody dropped in are good as before.
    assert client.get("/computes", headers={"Authorization": authorization}).status_code == 200
    with raw_client(own) as raw:
        assert raw.put(f"{url}/a.txt?{query}", content=b"a", headers={"x-ms-blob-type": "BlockBlob"}).status_code == 201
    names = {datastore["name"] for datastore in client.get("/datastores").json()["value"]}
    assert names == {"workspaceblobstore", "workspaceartifactstore"}
    with connected(own):
        make_one_of_each(workspace, jobs, tmp_path)
    assert [version.version for version in workspace.ml.models.list("model")] == ["1"]


def test_the_switches_are_at_their_start(own: Connection, control: Control, client: httpx.Client):
    control.set_time_scale(0.001)
    control.set_throttling(True, reads=(1, 0.001))
    control.add_fault(action="status", status=500, skip=1)
    control.add_scenario("job", scenario="failed", count=None)
    control.reset()
    began = time.monotonic()
    with connected(own) as jobs:
        assert jobs.ended(jobs.submitted("job", SHORT)) == "Completed"
    assert time.monotonic() - began < 30
    assert {client.get("/computes").status_code for _ in range(5)} == {200}


def test_a_running_job_is_ended_and_does_not_come_back(
    own: Connection, control: Control, client: httpx.Client, jobs: Jobs
):
    jobs.submitted("job", STUBBORN)
    step = jobs.running_step("job")
    pids = {int(pid) for pid in re.findall(r"\d+", jobs.log(step["runId"]).split("pids", 1)[1])[:2]}
    assert pids <= {child.pid for child in children(own)}
    control.reset()
    assert children(own) == []
    assert is_empty(client)
    time.sleep(SETTLING_SECONDS)
    assert is_empty(client)
    assert files(own.directory / "blobs") == []
    # The name is free, and the same job runs to its end.
    with connected(own):
        assert jobs.ended(jobs.submitted("job", SHORT)) == "Completed"
        assert len(jobs.children("job")) == 1


@pytest.mark.parametrize("after_seconds", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_wherever_a_job_is_on_its_way_nothing_of_it_comes_back(
    own: Connection, control: Control, client: httpx.Client, jobs: Jobs, after_seconds: float
):
    for number in range(3):
        jobs.submitted(f"job-{number}", SHORT)
    time.sleep(after_seconds)
    control.reset()
    assert children(own) == []
    time.sleep(SETTLING_SECONDS)
    assert is_empty(client)
    assert files(own.directory / "blobs") == []


def test_a_job_that_a_scenario_holds_back_is_ended(control: Control, client: httpx.Client, jobs: Jobs):
    control.add_scenario("job", scenario="stuck_queued")
    jobs.submitted("job", SHORT)
    until(lambda: jobs.status("job") == "Queued", "the job to be queued")
    control.reset()
    time.sleep(SETTLING_SECONDS)
    assert is_empty(client)


def test_an_operation_that_is_underway_is_given_up(control: Control, client: httpx.Client):
    control.set_time_scale(0.001)
    operation = client.put("/computes/cluster", json=CLUSTER).headers["azure-asyncoperation"]
    assert client.get(operation).json()["status"] == "InProgress"
    endpoint = {"location": "emulator", "properties": {"authMode": "Key"}}
    assert client.put("/onlineEndpoints/endpoint", json=endpoint).status_code == 201
    began = time.monotonic()
    control.reset()
    assert time.monotonic() - began < 5
    assert client.get(operation).status_code == 404
    assert is_empty(client)
    # A new one of this name does not meet the end of the old one.
    answer = client.put("/computes/cluster", json=CLUSTER)
    assert answer.status_code == 201
    until(lambda: client.get(answer.headers["azure-asyncoperation"]).json()["status"] == "Succeeded", "the cluster")


@pytest.mark.parametrize("when", ["before", "after"])
def test_requests_that_are_held_are_dropped(control: Control, client: httpx.Client, when: str):
    fault = control.add_fault(action="hold", when=when, method="PUT")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.put, "/computes/cluster", json=CLUSTER)
        control.wait_until_held(fault)
        control.reset()
        with pytest.raises(httpx.RemoteProtocolError):
            held.result()
    assert is_empty(client)


def test_requests_under_way_are_answered_before_or_after(control: Control, client: httpx.Client):
    def write(number: int) -> int:
        properties = {"dataType": "uri_file", "dataUri": FILE}
        return client.put(f"/data/data-{number}/versions/1", json={"properties": properties}).status_code

    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(write, number) for number in range(200)]
        until(lambda: len(control.journal()) > 20, "the writes to begin")
        control.reset()
        assert {each.result() for each in writes} <= {200, 201}
    after = {entry.path.split("/")[-3] for entry in control.journal() if entry.method == "PUT"}
    assert len(after) < 200
    assert {asset["name"] for asset in client.get("/data?$top=500").json()["value"]} == after


@pytest.mark.slow
def test_a_live_deployment_is_ended_and_can_be_made_again(
    own: Connection, control: Control, client: httpx.Client, workspace: "Workspace", tmp_path: Path
):
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model

    write_echo_model(tmp_path / "model", "echo")
    ml: Any = workspace.ml
    templates: set[int] = set()
    for _ in range(2):
        model = ml.models.create_or_update(Model(name="echo", path=str(tmp_path / "model"), type="mlflow_model"))
        ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="endpoint", auth_mode="key")).wait()
        blue = ManagedOnlineDeployment(
            name="blue", endpoint_name="endpoint", model=model.id, instance_type="Standard_DS3_v2", instance_count=1
        )
        ml.online_deployments.begin_create_or_update(blue).wait()
        (process,) = children(own)
        templates.add(process.ppid())
        key = ml.online_endpoints.get_keys("endpoint").primary_key
        headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": "blue"}
        question = ask("hello")
        with raw_client(own) as raw:
            assert raw.post("/endpoints/endpoint/score", headers=headers, json=question).status_code == 200
            control.reset()
            assert children(own) == []
            assert is_empty(client)
            assert raw.post("/endpoints/endpoint/score", headers=headers, json=question).status_code == 404
    assert len(templates) == 1


@pytest.mark.slow
def test_a_deployment_that_is_starting_is_ended(
    own: Connection, control: Control, client: httpx.Client, workspace: "Workspace", tmp_path: Path
):
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model

    write_echo_model(tmp_path / "model", "echo", load_seconds=30)
    ml: Any = workspace.ml
    model = ml.models.create_or_update(Model(name="echo", path=str(tmp_path / "model"), type="mlflow_model"))
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="endpoint", auth_mode="key")).wait()
    blue = ManagedOnlineDeployment(
        name="blue", endpoint_name="endpoint", model=model.id, instance_type="Standard_DS3_v2", instance_count=1
    )
    ml.online_deployments.begin_create_or_update(blue)
    until(lambda: bool(children(own)), "the model server to be started")
    control.reset()
    assert children(own) == []
    time.sleep(SETTLING_SECONDS)
    assert is_empty(client)
    assert children(own) == []


def test_a_reset_emulator_starts_again(control: Control, own: Connection, jobs: Jobs):
    jobs.submitted("job", STUBBORN)
    jobs.running_step("job")
    control.reset()
    assert process.stop(own.directory)
    with arm_client(process.ensure_running(own.directory)) as client:
        assert is_empty(client)


def test_who_wants_to_be_alone_waits_for_those_inside_and_keeps_others_out():
    async def scene() -> list[str]:
        occupancy, order, leave = Occupancy(), [], asyncio.Event()

        async def request(name: str) -> None:
            async with occupancy.inside():
                order.append(f"{name} in")
                if name == "first":
                    await leave.wait()
                order.append(f"{name} out")

        async def alone() -> None:
            async with occupancy.alone(60):
                order.append("alone")
                await asyncio.sleep(0.01)
                order.append("not alone")

        tasks = [asyncio.create_task(request("first"))]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(alone())]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(request("second"))]
        await asyncio.sleep(0.01)
        leave.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scene()) == ["first in", "first out", "alone", "not alone", "second in", "second out"]


def test_a_reset_that_fails_leaves_an_emulator_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    emulator = open_emulator(tmp_path / "emulator", "https://127.0.0.1:1")
    parts = Parts.of(emulator)
    ended = parts.deployments

    def fail() -> None:
        raise OSError("the disk is broken")

    async def scene() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(emulator.blobs, "clear", fail)
            with pytest.raises(OSError, match="the disk is broken"):
                await reset(parts)
        assert not emulator.stopping.is_set()
        assert parts.deployments is not ended
        await reset(parts)
        assert not emulator.stopping.is_set()

    asyncio.run(scene())


def test_who_wants_to_be_alone_does_not_wait_for_ever():
    async def scene() -> str:
        occupancy = Occupancy()
        async with occupancy.inside(), occupancy.alone(0.05):
            return "alone"

    assert asyncio.run(scene()) == "alone"
