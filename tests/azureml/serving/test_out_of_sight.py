"""Losing sight of a deployment or a rollout is not its end, and no operation is waited for without one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.billing.bill import read_bill
from phi_assets.azureml.billing.reaper import expired_endpoints
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import DeploymentFailed, SightLost
from phi_assets.azureml.connection.operations import Course
from phi_assets.azureml.connection.provisioning import settled
from phi_assets.azureml.serving.base_model import base_deployment
from phi_assets.azureml.serving.deployments import delete_deployment, ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.rollout import ensure_rollout
from phi_assets.azureml.serving.routing import in_words
from phi_assets.azureml.serving.smoke import ensure_smoke
from phi_assets.azureml.serving.traffic import move, routing_of
from phi_assets.config.recipe import RolloutSection, ServingSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import EndpointRef, ModelRef, RegisteredModelRef, TrafficRef
from tests.azureml import toys as toy
from tests.azureml.out_of_sight import LOSSES, TWO_HOURS, attentive, with_helper
from tests.azureml.training.waiting_room import Lines
from tests.emulator.serving.echo import write_echo_model
from tests.emulator_requests import Requests

pytestmark = pytest.mark.timeout(180)

SERVING = ServingSection(
    endpoint="unseen", instance_type=toy.SIZE, liveness_initial_delay_seconds=10, request_timeout_seconds=30
)
ROLLOUT = RolloutSection(prompts=["How are you today?", "What is new?"], observations=2, steps=[50, 100])
DEPLOYMENTS = "/onlineendpoints/{endpoint}/deployments/{name}"


@dataclass
class World:
    """An endpoint and two model versions, nothing deployed."""

    ws: Workspace
    endpoint: EndpointRef
    models: list[RegisteredModelRef]


@pytest.fixture(scope="module")
def made(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    from azure.ai.ml.entities import Model

    models = []
    for version in ("1", "2"):
        folder = write_echo_model(tmp_path_factory.mktemp("unseen") / "model", f"version {version}")
        entity = Model(name="unseen", version=version, path=str(folder), type="mlflow_model")
        found: Any = toys.ml.models.create_or_update(entity)
        models.append(
            RegisteredModelRef(id=str(found.id), name="unseen", version=version, job_name="none", action="created")
        )
    yield World(toys, ensure_endpoint(toys, SERVING), models)
    delete_endpoint(toys, "unseen")


@pytest.fixture
def world(background: ThreadPoolExecutor, made: World, control: Control) -> Iterator[World]:
    yield made
    control.clear_faults()
    control.clear_scenarios()
    control.set_clock(0)
    routing = routing_of(made.ws, "unseen")
    if routing.live or routing.mirror or routing.fallback:
        move(made.ws, routing, {})
    for name in routing.deployments:
        delete_deployment(made.ws, "unseen", name)


@pytest.mark.parametrize("name", [name for name in LOSSES if not name.startswith("clock")])
def test_a_deployment_on_its_way_is_waited_for_whatever_is_lost_of_it(
    background: ThreadPoolExecutor,
    world: World,
    emulator: Connection,
    control: Control,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    ws, loss, slow, lines = attentive(emulator), LOSSES[name], tmp_path / "slow", Lines()
    if loss.helper:
        with_helper(ws, tmp_path, slow, monkeypatch)
    control.add_scenario("deployment", scenario="delay", seconds=3, exact=True)
    begun = control.add_fault(method="PUT", route=DEPLOYMENTS, action="delay", seconds=0, when="after")
    with Requests(emulator) as requests:
        deploying = background.submit(ensure_deployment, ws, world.endpoint, world.models[0], SERVING, log=lines)
        while not control.fault(begun).applied:
            assert not deploying.done()
        loss.begin(control, slow)
        if loss.is_out_of_sight:
            lines.expect("Deployment ft-1 of endpoint unseen cannot be seen")
            first = next(line for line in lines if "cannot be seen" in line)
            for part in (*loss.says, "It runs on and is billing", ws.endpoint_studio_url("unseen")):
                assert part in first
        lines.expect(*(("Deployment ft-1", "still cannot be seen") if loss.is_out_of_sight else ("Creating",)))
        control.clear_faults()
        slow.unlink(missing_ok=True)
        ref = deploying.result(60)
    assert (ref.name, ref.action) == ("ft-1", "created")
    writes = [line for line in requests.writes if "/deployments/" in line]
    assert [line.split()[0] for line in writes] == ["PUT"]


def test_a_deployment_out_of_sight_for_good_is_left_as_it_is_and_found_again(
    background: ThreadPoolExecutor, world: World, emulator: Connection, control: Control, tmp_path: Path
) -> None:
    ws = attentive(emulator, limit_seconds=0.3)
    control.add_scenario("deployment", scenario="delay", seconds=4, exact=True)
    begun = control.add_fault(method="PUT", route=DEPLOYMENTS, action="delay", seconds=0, when="after")
    deploying = background.submit(ensure_deployment, ws, world.endpoint, world.models[0], SERVING)
    while not control.fault(begun).applied:
        assert not deploying.done()
    LOSSES["403"].begin(control, tmp_path)
    with pytest.raises(SightLost, match=r"Deployment ft-1 .*nothing was done to it.*found by its name"):
        deploying.result(60)
    control.clear_faults()
    with Requests(emulator) as requests:
        again = ensure_deployment(world.ws, world.endpoint, world.models[0], SERVING)
    assert again.action == "reused"
    assert requests.writes == []


def test_before_there_is_a_deployment_a_refusal_is_one(world: World, emulator: Connection, control: Control) -> None:
    control.add_fault(method="PUT", route=DEPLOYMENTS, action="status", status=403, code="AuthorizationFailed")
    with Requests(emulator) as requests, pytest.raises(DeploymentFailed, match="AuthorizationFailed"):
        ensure_deployment(attentive(emulator), world.endpoint, world.models[0], SERVING)
    assert len([line for line in requests.writes if line.startswith("PUT")]) == 1


def test_a_deployment_that_never_ends_is_deleted_and_says_so(
    world: World, emulator: Connection, control: Control
) -> None:
    control.add_scenario("deployment", scenario="delay", seconds=10_000, exact=True)
    hurried = SERVING.model_copy(update={"deployment_timeout_minutes": 2 / 60})
    with Requests(emulator) as requests, pytest.raises(DeploymentFailed) as failed:
        ensure_deployment(world.ws, world.endpoint, world.models[0], hurried)
    for part in ("ft-1", "not healthy after 2 s", "nothing of it is billing", "`serving.deployment_timeout_minutes`"):
        assert part in str(failed.value)
    assert [line.split()[0] for line in requests.writes if "/deployments/ft-1" in line] == ["PUT", "DELETE"]
    assert [item.name for item in read_bill(world.ws, None).of_endpoint("unseen")] == ["unseen"]


def test_whoever_waits_is_told_from_time_to_time(
    background: ThreadPoolExecutor, world: World, control: Control
) -> None:
    control.add_scenario("deployment", scenario="delay", seconds=2, exact=True)
    background.submit(ensure_deployment, world.ws, world.endpoint, world.models[0], SERVING)
    lines = Lines()

    def get() -> Any:
        return world.ws.ml.online_deployments.get(name="ft-1", endpoint_name="unseen")

    watched = world.ws.watched("Deployment ft-1", "https://studio")
    course = Course(watched, DeploymentFailed, 60, heartbeat_seconds=0.2)
    while not routing_of(world.ws, "unseen").deployments:
        pass
    found: Any = settled(get, course, lines)
    assert found.provisioning_state == "Succeeded"
    assert any(line.startswith("Deployment ft-1 is still") and "waited for up to 1 min" in line for line in lines)


@pytest.mark.parametrize("name", LOSSES)
def test_a_rollout_goes_on_where_it_stood_whatever_is_lost_of_it(
    background: ThreadPoolExecutor,
    world: World,
    emulator: Connection,
    control: Control,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    old = ensure_deployment(world.ws, world.endpoint, world.models[0], SERVING)
    ensure_rollout(world.ws, world.endpoint, old, ROLLOUT, timeout_seconds=30)
    new = ensure_deployment(world.ws, world.endpoint, world.models[1], SERVING)
    ws, loss, slow, lines = attentive(emulator), LOSSES[name], tmp_path / "slow", Lines()
    if loss.helper:
        with_helper(ws, tmp_path, slow, monkeypatch)
    # The rollout is held at its first score, and what is to be lost is lost then.
    hold = control.add_fault(plane="scoring", action="hold", count=1)
    with Requests(emulator) as requests:
        rolling = background.submit(ensure_rollout, ws, world.endpoint, new, ROLLOUT, timeout_seconds=30, log=lines)
        control.wait_until_held(hold, timeout=30)
        once = {"401 once": {"route": "/onlineendpoints/{endpoint}"}}.get(name)
        if once is not None:
            control.add_fault(action="status", status=401, count=1, code="ExpiredAuthenticationToken", **once)
        else:
            loss.begin(control, slow)
        control.release(hold)
        if loss.is_out_of_sight:
            lines.expect("Rollout of ft-2 on endpoint unseen cannot be seen")
            first = next(line for line in lines if "cannot be seen" in line)
            for part in (*loss.says, "The traffic stays as it is, and the deployments are billing"):
                assert part in first
            assert not rolling.done()
            lines.expect("still cannot be seen")
        control.clear_faults()
        slow.unlink(missing_ok=True)
        done = rolling.result(90)
    assert done.traffic is not None
    assert done.traffic.traffic == {"ft-2": 100}
    assert [in_words(step.live, step.mirror) for step in done.steps if step.comparison] == [
        "ft-1 100 %, 10 % mirrored to ft-2",
        "ft-1 50 %, ft-2 50 %",
        "ft-2 100 %",
    ]
    assert all(
        reply.seconds is not None for step in done.steps if step.comparison for reply in step.comparison.new_replies
    )
    assert [line.split()[0] for line in requests.writes if "/deployments/" in line] == ["DELETE"]


@pytest.mark.parametrize("ahead", [-TWO_HOURS, TWO_HOURS], ids=["behind", "ahead"])
def test_a_lease_is_the_services_time(world: World, emulator: Connection, control: Control, ahead: float) -> None:
    control.set_clock(ahead)
    ws, name = attentive(emulator), f"leased-{'behind' if ahead < 0 else 'ahead'}"
    section = SERVING.model_copy(update={"endpoint": name, "lease_hours": 1})
    try:
        made = ensure_endpoint(ws, section)
        now = ws.clock.now()
        assert now is not None
        assert timedelta(minutes=55) < datetime.fromisoformat(made.expires_at) - now < timedelta(minutes=65)
        assert ensure_endpoint(ws, section).action == "reused"
        assert name not in expired_endpoints(ws)
        control.set_clock(ahead + TWO_HOURS)
        assert name in expired_endpoints(ws)
        (found,) = (item for item in read_bill(ws, None).items if item.name == name)
        assert found.has_expired
    finally:
        control.set_clock(0)
        delete_endpoint(world.ws, name)


def test_a_network_that_is_gone_is_no_fault_of_a_new_deployment(
    background: ThreadPoolExecutor, world: World, emulator: Connection, control: Control
) -> None:
    ref, lines = ensure_deployment(world.ws, world.endpoint, world.models[0], SERVING), Lines()
    ws = attentive(emulator)
    control.add_fault(plane="scoring", action="drop")
    gate = background.submit(ensure_smoke, ws, world.endpoint, ref, ROLLOUT, timeout_seconds=30, log=lines)
    lines.expect("Deployment ft-1 cannot be seen", "network, its DNS and its proxy")
    control.clear_faults()
    assert gate.result(60).passed
    assert "ft-1" in routing_of(ws, "unseen").deployments


def test_the_base_models_deployment_is_not_left_behind_for_want_of_a_sign_in(
    background: ThreadPoolExecutor, world: World, emulator: Connection, control: Control, tmp_path: Path
) -> None:
    ws, lines = attentive(emulator), Lines()
    own = world.models[0]
    model = ModelRef(
        id=own.id, name=own.name, version=own.version, content_hash="", finetune_computes=None, inference_computes=None
    )
    traffic = TrafficRef(
        endpoint="unseen", scoring_uri=world.endpoint.scoring_uri, traffic={}, model_id=own.id, action="reused"
    )

    def use() -> None:
        with base_deployment(ws, traffic, model, SERVING, lines):
            LOSSES["401 for ten minutes"].begin(control, tmp_path)

    using = background.submit(use)
    lines.expect("of the base model cannot be seen", "ExpiredAuthenticationToken", "It runs on and is billing")
    assert not using.done()
    control.clear_faults()
    using.result(60)
    assert routing_of(ws, "unseen").deployments == {}
