"""Every write of every `ensure_*`, with its answer lost or its request refused for a while: done, and done once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.compute.clusters import ensure_compute
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.models.registered import ensure_registered_model
from phi_assets.azureml.serving.deployments import delete_deployment, ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.azureml.training.data import ensure_data_asset
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.config.recipe import ComputeSection, ServingSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import DeploymentRef, EndpointRef, JobRef, RegisteredModelRef
from tests.azureml import toys as toy
from tests.azureml.training.waiting_room import DISTURBANCES, exists
from tests.emulator_requests import Requests

NUMBERS = count()


@dataclass
class World:
    """What the writes are made on."""

    ws: Workspace
    folder: Path
    job: JobRef
    model: RegisteredModelRef
    endpoint: EndpointRef
    serving: ServingSection
    deployment: DeploymentRef
    other_model: RegisteredModelRef
    """A second version, not deployed."""
    undo: list[Callable[[], object]]
    """What a case leaves behind and the next must not find."""

    def clean_up(self) -> None:
        while self.undo:
            self.undo.pop()()


@pytest.fixture(scope="module")
def world(impatient: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    ws = impatient
    serving = ServingSection(
        endpoint="lost-answers", instance_type=toy.SIZE, liveness_initial_delay_seconds=10, request_timeout_seconds=30
    )
    models = []
    for prefix in ("one: ", "two: "):
        job = ensure_job(ws, request=toy.make_request(ws, tmp_path_factory.mktemp("job"), prefix=prefix))
        models.append(ensure_registered_model(ws, job=job, name="lost-answers", description="A toy"))
    endpoint = ensure_endpoint(ws, serving)
    deployment = ensure_deployment(ws, endpoint, models[0], serving)
    yield World(ws, tmp_path_factory.mktemp("x"), job, models[0], endpoint, serving, deployment, models[1], [])
    delete_endpoint(ws, str(serving.endpoint))


@dataclass(frozen=True)
class Case:
    """A write: what leads to it, what makes it, and what must be true afterwards."""

    method: str
    route: str
    make: Callable[[World], Callable[[], Any]]
    """Gives the call that makes this write once, and that finds nothing to write when it is made again."""


def _new_cluster(world: World) -> ComputeSection:
    section = ComputeSection(name=f"lost{next(NUMBERS)}", size=toy.SIZE)
    world.undo.append(lambda: world.ws.ml.compute.begin_delete(section.name).wait())
    return section


def _create_compute(world: World) -> Callable[[], Any]:
    section, model = _new_cluster(world), get_foundation_model(world.ws, toy.MODEL)
    return lambda: ensure_compute(world.ws, section, model)


def _update_compute(world: World) -> Callable[[], Any]:
    section, model = _new_cluster(world), get_foundation_model(world.ws, toy.MODEL)
    ensure_compute(world.ws, section, model)
    larger = section.model_copy(update={"max_nodes": 2})
    return lambda: ensure_compute(world.ws, larger, model)


def _data(world: World) -> Callable[[], Any]:
    sample = toy.make_sample(world.folder, "train_sft", f"data {next(NUMBERS)}")
    return lambda: ensure_data_asset(world.ws, "lost-answers", sample)


def _job(world: World) -> Callable[[], Any]:
    folder = world.folder / f"job-{next(NUMBERS)}"
    folder.mkdir()
    request = toy.make_request(world.ws, folder)

    def make() -> Any:
        job = ensure_job(world.ws, request=request)
        assert not exists(world.ws, request, 2)
        return job

    return make


def _model(world: World) -> Callable[[], Any]:
    name = f"lost-{next(NUMBERS)}"

    def make() -> Any:
        model = ensure_registered_model(world.ws, job=world.job, name=name, description="A toy")
        assert len(list(world.ws.ml.models.list(name))) == 1
        return model

    return make


def _new_endpoint(world: World) -> ServingSection:
    section = world.serving.model_copy(update={"endpoint": f"lost-{next(NUMBERS)}"})
    world.undo.append(lambda: delete_endpoint(world.ws, str(section.endpoint)))
    return section


def _create_endpoint(world: World) -> Callable[[], Any]:
    section = _new_endpoint(world)
    return lambda: ensure_endpoint(world.ws, section)


def _update_endpoint(world: World) -> Callable[[], Any]:
    section = _new_endpoint(world)
    ensure_endpoint(world.ws, section)
    return lambda: ensure_endpoint(world.ws, section, owner=world.ws.owner("toy"))


def _delete_endpoint(world: World) -> Callable[[], Any]:
    section = _new_endpoint(world)
    ensure_endpoint(world.ws, section)
    return lambda: delete_endpoint(world.ws, str(section.endpoint))


def _create_deployment(world: World) -> Callable[[], Any]:
    world.undo.append(lambda: delete_deployment(world.ws, world.endpoint.name, f"ft-{world.other_model.version}"))
    return lambda: ensure_deployment(world.ws, world.endpoint, world.other_model, world.serving)


def _update_deployment(world: World) -> Callable[[], Any]:
    other = world.serving.model_copy(update={"max_concurrent_requests": 2 + next(NUMBERS)})
    return lambda: ensure_deployment(world.ws, world.endpoint, world.model, other)


def _delete_deployment(world: World) -> Callable[[], Any]:
    ensure_traffic(world.ws, world.endpoint, world.deployment)
    ensure_deployment(world.ws, world.endpoint, world.other_model, world.serving)
    return lambda: ensure_traffic(world.ws, world.endpoint, world.deployment)


def _traffic(world: World) -> Callable[[], Any]:
    endpoint: Any = world.ws.ml.online_endpoints.get(world.endpoint.name)
    endpoint.traffic = {world.deployment.name: 0}
    world.ws.ml.online_endpoints.begin_create_or_update(endpoint).wait()
    return lambda: ensure_traffic(world.ws, world.endpoint, world.deployment)


DEPLOYMENT = "/onlineendpoints/{endpoint}/deployments/{name}"
ENDPOINT = "/onlineendpoints/{endpoint}"
CASES = {
    "create compute": Case("PUT", "/computes/{name}", _create_compute),
    "update compute": Case("PUT", "/computes/{name}", _update_compute),
    "data asset": Case("PUT", "/data/{name}/versions/{version}", _data),
    "job": Case("PUT", "/jobs/{name}", _job),
    "model version": Case("PUT", "/models/{name}/versions/{version}", _model),
    "create endpoint": Case("PUT", ENDPOINT, _create_endpoint),
    "update endpoint": Case("PUT", ENDPOINT, _update_endpoint),
    "delete endpoint": Case("DELETE", ENDPOINT, _delete_endpoint),
    "create deployment": Case("PUT", DEPLOYMENT, _create_deployment),
    "update deployment": Case("PUT", DEPLOYMENT, _update_deployment),
    "delete deployment": Case("DELETE", DEPLOYMENT, _delete_deployment),
    "traffic": Case("PUT", ENDPOINT, _traffic),
}
LONG_RUNNING = {name for name in CASES if name not in ("data asset", "job", "model version")}


@pytest.mark.slow
@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize("name", CASES)
def test_a_lost_answer_is_made_good(
    world: World, control: Control, emulator: Connection, name: str, disturbance: str
) -> None:
    case = CASES[name]
    make = case.make(world)
    fault = control.add_fault(method=case.method, route=case.route, count=1, **DISTURBANCES[disturbance])
    try:
        done = make()
        assert control.fault(fault).applied == 1
        action = getattr(done, "action", None)
        assert action in (None, "created", "updated", "submitted")
        with Requests(emulator) as again:
            same = make()
        assert not again.writes
        if action is not None:
            assert same == done.model_copy(update={"action": "reused", "reason": same.reason, **_gone(done)})
    finally:
        control.clear_faults()
        world.clean_up()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
@pytest.mark.parametrize("disturbance", [{"action": "drop"}, {"action": "status", "status": 503}])
def test_an_operation_is_watched_to_its_end_through_an_outage(
    world: World, control: Control, emulator: Connection, name: str, disturbance: dict[str, Any]
) -> None:
    case = CASES[name]
    make = case.make(world)
    fault = control.add_fault(route="*operationsstatus/*", count=2, **disturbance)
    try:
        with Requests(emulator) as requests:
            make()
        assert control.fault(fault).applied >= 1
        writes = [line for line in requests.writes if line.startswith(case.method)]
        assert len(writes) == 1
        with Requests(emulator) as again:
            make()
        assert not again.writes
    finally:
        control.clear_faults()
        world.clean_up()


def _gone(ref: Any) -> dict[str, Any]:
    return {"retired": ()} if hasattr(ref, "retired") else {}
