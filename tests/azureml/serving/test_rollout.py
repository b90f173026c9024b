"""A new model version takes over step by step, from wherever a rollout stands, and not at all where it is worse."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import DeploymentFailed, TrafficFailed
from phi_assets.azureml.ownership import MANAGED_TAG
from phi_assets.azureml.serving.deployments import (
    delete_deployment,
    deployment_name,
    discard_deployment,
    ensure_deployment,
)
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.rollout import Rollout, abandon_rollout, ensure_rollout
from phi_assets.azureml.serving.routing import Routing, in_words
from phi_assets.azureml.serving.smoke import ensure_smoke
from phi_assets.azureml.serving.traffic import ensure_traffic, move, routing_of
from phi_assets.changes import in_short
from phi_assets.config.recipe import RolloutSection, ServingSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import DeploymentRef, EndpointRef, RegisteredModelRef
from tests.azureml import toys as toy
from tests.emulator.serving.echo import write_echo_model
from tests.emulator_requests import Requests

pytestmark = pytest.mark.timeout(180)

SERVING = ServingSection(
    endpoint="rollout", instance_type=toy.SIZE, liveness_initial_delay_seconds=10, request_timeout_seconds=30
)
PROMPTS = ["How are you today?", "What is new?", "Which way is north?"]
ROLLOUT = RolloutSection(prompts=PROMPTS, observations=2)
ALL_STEPS = ["{old} 100 %, 10 % mirrored to {new}", "{old} 90 %, {new} 10 %", "{old} 50 %, {new} 50 %", "{new} 100 %"]


@dataclass
class World:
    """An endpoint, two model versions of the same name, and what is deployed of them."""

    ws: Workspace
    control: Control
    endpoint: EndpointRef
    models: list[RegisteredModelRef]
    lines: list[str] = field(default_factory=list)

    def deploy(self, number: int) -> DeploymentRef:
        return ensure_deployment(self.ws, self.endpoint, self.models[number], SERVING)

    def roll_out(self, ref: DeploymentRef, **changes: Any) -> Rollout:
        section = ROLLOUT.model_copy(update=changes)
        return ensure_rollout(self.ws, self.endpoint, ref, section, timeout_seconds=30, log=self.lines.append)

    @property
    def now(self) -> Routing:
        return routing_of(self.ws, self.endpoint.name)

    @property
    def traffic(self) -> str:
        return in_words(self.now.live, self.now.mirror)

    @property
    def deployments(self) -> set[str]:
        return set(self.now.deployments)

    def ail(self, ref: DeploymentRef, scenario: str, **fields: Any) -> None:
        """The live process of the deployment goes wrong from now on."""
        self.control.add_scenario("deployment", scenario=scenario, match=f"{self.endpoint.name}/{ref.name}", **fields)

    def clear(self) -> None:
        """No deployment is left."""
        self.control.clear_scenarios()
        if self.now.live or self.now.mirror or self.now.fallback:
            move(self.ws, self.now, {})
        for name in self.deployments:
            delete_deployment(self.ws, self.endpoint.name, name)


@pytest.fixture(scope="module")
def settled(emulator: Connection, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    from azure.ai.ml.entities import Model

    models = []
    for version in ("1", "2"):
        folder = write_echo_model(tmp_path_factory.mktemp("rollout") / "model", f"version {version}")
        entity = Model(name="rollout", version=version, path=str(folder), type="mlflow_model")
        found: Any = workspace.ml.models.create_or_update(entity)
        models.append(
            RegisteredModelRef(id=str(found.id), name="rollout", version=version, job_name="none", action="created")
        )
    with Control(emulator) as control:
        yield World(workspace, control, ensure_endpoint(workspace, SERVING), models)
    delete_endpoint(workspace, str(SERVING.endpoint))


@pytest.fixture
def world(settled: World) -> Iterator[World]:
    settled.lines.clear()
    yield settled
    settled.clear()


@pytest.fixture
def old(world: World) -> DeploymentRef:
    """The first version has all the traffic."""
    ref = world.deploy(0)
    assert world.roll_out(ref).traffic is not None
    return ref


@pytest.fixture
def new(world: World, old: DeploymentRef) -> DeploymentRef:
    """The second version is deployed and gets nothing."""
    ref = world.deploy(1)
    assert world.traffic == f"{old.name} 100 %"
    return ref


def steps(rollout: Rollout) -> list[str]:
    return [in_words(step.live, step.mirror) for step in rollout.steps if step.comparison]


def expected(old: DeploymentRef, new: DeploymentRef) -> list[str]:
    return [step.format(old=old.name, new=new.name) for step in ALL_STEPS]


def test_the_first_deployment_gets_everything_at_once(world: World, emulator: Connection) -> None:
    ref = world.deploy(0)
    with Requests(emulator) as requests:
        rollout = world.roll_out(ref)
    assert rollout.traffic is not None
    assert rollout.traffic.traffic == {ref.name: 100}
    assert steps(rollout) == []
    assert [line for line in requests.lines if line.endswith("/score")] == []
    assert len([line for line in requests.writes if line.startswith("PUT")]) == 1


def test_a_new_version_takes_over_in_steps(
    world: World, old: DeploymentRef, new: DeploymentRef, emulator: Connection
) -> None:
    rollout = world.roll_out(new)
    assert steps(rollout) == expected(old, new)
    assert rollout.traffic is not None
    assert (rollout.traffic.traffic, rollout.traffic.retired) == ({new.name: 100}, (old.name,))
    assert rollout.traffic.reason == f"Traffic went to {old.name} 100 % instead of {new.name}."
    assert world.deployments == {new.name}
    assert world.now.fallback is None
    for step in rollout.steps:
        if step.comparison:
            sides = (step.comparison.old_replies, step.comparison.new_replies)
            assert [len(replies) for replies in sides] == [2, 2]
            assert [reply.prompt for reply in sides[0]] == [reply.prompt for reply in sides[1]]
            assert {reply.text.split("|")[0] for reply in sides[0]} == {"version 1"}
            assert {reply.text.split("|")[0] for reply in sides[1]} == {"version 2"}
    with Requests(emulator) as requests:
        again = world.roll_out(new)
    assert again.traffic is not None
    assert (again.traffic.action, again.steps) == ("reused", ())
    assert requests.writes == []


def test_the_recipe_says_which_steps(world: World, old: DeploymentRef, new: DeploymentRef) -> None:
    rollout = world.roll_out(new, mirror_percent=0, steps=[30, 100], retire="keep")
    assert steps(rollout) == [
        f"{old.name} 100 %",
        f"{old.name} 70 %, {new.name} 30 %",
        f"{new.name} 100 %",
    ]
    assert rollout.traffic is not None
    assert rollout.traffic.retired == ()
    assert world.deployments == {old.name, new.name}
    # What was kept is not compared with again, and may take over again.
    again = world.roll_out(new, retire="keep")
    assert again.traffic is not None
    assert again.traffic.action == "reused"
    back = world.roll_out(old)
    assert back.traffic is not None
    assert world.deployments == {old.name}


@pytest.mark.parametrize("passed", [1, 2, 3])
def test_a_rollout_goes_on_from_where_it_stands(
    world: World, old: DeploymentRef, new: DeploymentRef, passed: int
) -> None:
    stand_at(world, old, new, passed)
    rollout = world.roll_out(new)
    assert steps(rollout) == expected(old, new)[passed:]
    assert world.traffic == f"{new.name} 100 %"
    assert world.deployments == {new.name}
    assert world.now.fallback is None


def stand_at(world: World, old: DeploymentRef, new: DeploymentRef, step: int) -> None:
    """As somebody left it who was killed after that move."""
    move(world.ws, world.now, {old.name: 100}, {new.name: 10})
    if step >= 1:
        move(world.ws, world.now, {old.name: 90, new.name: 10})
    if step >= 2:
        move(world.ws, world.now, {old.name: 50, new.name: 50})
    if step >= 3:
        move(world.ws, world.now, {new.name: 100}, fallback=old.name)


@pytest.mark.parametrize(("stage", "scenario"), [(0, "garbage"), (1, "empty"), (2, "garbage"), (3, "empty")])
def test_a_worse_one_is_turned_down_at_any_step(
    world: World, old: DeploymentRef, new: DeploymentRef, stage: int, scenario: str
) -> None:
    stand_at(world, old, new, stage)
    world.ail(new, scenario)
    rollout = world.roll_out(new)
    assert rollout.traffic is None
    assert world.traffic == f"{old.name} 100 %"
    assert world.deployments == {old.name}
    assert world.now.fallback is None
    at = expected(old, new)[stage]
    assert f"{new.name} of {in_short(new.model_id)} is worse than {old.name}: 2 of 2 answers" in rollout.failure
    assert f" (at {at}). It " in rollout.failure
    assert f"has been deleted; traffic goes to {old.name} 100 %" in rollout.failure
    assert [step.outcome.split(":")[0] for step in rollout.steps] == [
        "failed",
        f"rolled back; {new.name} has been deleted",
    ]


def test_one_that_is_ten_times_slower_is_turned_down(world: World, old: DeploymentRef, new: DeploymentRef) -> None:
    world.ail(new, "slow", factor=10)
    # What the echo model does with it: it takes that long.
    rollout = world.roll_out(new, prompts=["sleep:0.15"])
    assert rollout.traffic is None
    assert "times as long; `rollout.max_latency_ratio` is 3" in rollout.failure
    assert steps(rollout) == expected(old, new)[:1]
    assert world.deployments == {old.name}


def test_one_that_is_as_slow_as_the_old_one_is_not_turned_down(
    world: World, old: DeploymentRef, new: DeploymentRef
) -> None:
    rollout = world.roll_out(new, prompts=["sleep:0.3"], mirror_percent=0, steps=[100])
    assert rollout.traffic is not None, rollout.failure


def test_one_that_fails_while_it_scores_is_turned_down(world: World, old: DeploymentRef, new: DeploymentRef) -> None:
    world.ail(new, "model_error", status=400)
    rollout = world.roll_out(new)
    assert rollout.traffic is None
    assert "424" in rollout.failure
    assert world.deployments == {old.name}


def test_problems_that_the_old_one_has_as_well_are_no_reason(
    world: World, old: DeploymentRef, new: DeploymentRef
) -> None:
    world.ail(old, "empty")
    world.ail(new, "empty")
    rollout = world.roll_out(new)
    assert rollout.traffic is not None, rollout.failure


def test_a_broken_old_one_is_replaced_at_once(world: World, old: DeploymentRef, new: DeploymentRef) -> None:
    world.ail(old, "unhealthy", state="Failed", exact=True)
    until_failed(world, old)
    rollout = world.roll_out(new)
    assert steps(rollout) == []
    assert world.traffic == f"{new.name} 100 %"
    assert world.deployments == {new.name}


def until_failed(world: World, ref: DeploymentRef) -> None:
    from tests.e2e.harness.processes import until

    until(lambda: None if world.now.can_serve(ref.name) else True, 30, f"{ref.name} does not fail")


def test_a_deployment_of_somebody_else_gets_its_traffic_back_or_is_kept_without(world: World) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment

    foreign: Any = ManagedOnlineDeployment(
        name="theirs",
        endpoint_name=world.endpoint.name,
        model=world.models[0].id,
        instance_type=toy.SIZE,
        instance_count=1,
    )
    world.ws.ml.online_deployments.begin_create_or_update(foreign).wait()
    move(world.ws, world.now, {"theirs": 100})
    new = world.deploy(1)
    world.ail(new, "garbage")
    assert world.roll_out(new).traffic is None
    assert (world.traffic, world.deployments) == ("theirs 100 %", {"theirs"})
    world.control.clear_scenarios()
    new = world.deploy(1)
    assert world.roll_out(new).traffic is not None
    assert (world.traffic, world.deployments) == (f"{new.name} 100 %", {"theirs", new.name})
    assert any("theirs is not ours: it was made by somebody" in line for line in world.lines)


def test_nothing_is_requested_for_a_deployment_that_is_gone(
    world: World, old: DeploymentRef, emulator: Connection
) -> None:
    gone = old.model_copy(update={"name": "ft-gone"})
    with Requests(emulator) as requests, pytest.raises(TrafficFailed, match=r"no deployment ft-gone.*Nothing was"):
        world.roll_out(gone)
    assert requests.writes == []
    assert world.traffic == f"{old.name} 100 %"


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_an_abandoned_rollout_gives_the_traffic_back(
    world: World, old: DeploymentRef, new: DeploymentRef, stage: int
) -> None:
    stand_at(world, old, new, stage)
    abandon_rollout(world.ws, world.endpoint, new, ROLLOUT)
    assert (world.traffic, world.deployments) == (f"{old.name} 100 %", {old.name})
    abandon_rollout(world.ws, world.endpoint, new, ROLLOUT)
    assert (world.traffic, world.deployments) == (f"{old.name} 100 %", {old.name})


def test_a_proven_deployment_is_not_abandoned(world: World, old: DeploymentRef, new: DeploymentRef) -> None:
    ensure_traffic(world.ws, world.endpoint, new, retire="keep")
    abandon_rollout(world.ws, world.endpoint, new, ROLLOUT)
    assert (world.traffic, world.deployments) == (f"{new.name} 100 %", {old.name, new.name})
    # One that was kept from earlier stays.
    kept = ROLLOUT.model_copy(update={"retire": "keep"})
    abandon_rollout(world.ws, world.endpoint, old.model_copy(update={"action": "reused"}), kept)
    assert world.deployments == {old.name, new.name}


def smoke(world: World, ref: DeploymentRef, **changes: Any) -> Any:
    return ensure_smoke(
        world.ws, world.endpoint, ref, ROLLOUT.model_copy(update=changes), timeout_seconds=30, log=world.lines.append
    )


def test_a_sound_deployment_passes_the_smoke_gate(world: World, old: DeploymentRef, new: DeploymentRef) -> None:
    report = smoke(world, new)
    assert report.passed
    assert [reply.text.split("|")[0] for reply in report.replies] == ["version 2"] * 3
    # One that serves has passed before.
    before = smoke(world, old.model_copy(update={"action": "reused"}))
    assert (before.passed, before.replies) == (True, ())
    assert before.summary == "It serves 100 % of the traffic already and was not asked."


@pytest.mark.parametrize(
    ("scenario", "fields", "changes", "reason"),
    [
        ("garbage", {}, {}, "2 of 2 answers are wrong"),
        ("empty", {}, {}, ": empty)"),
        ("model_error", {"status": 400}, {}, "the payload contract is broken"),
        ("slow", {"seconds": 1, "exact": True}, {"max_latency_seconds": 0.5}, "`rollout.max_latency_seconds` is 0.5"),
    ],
)
def test_what_fails_the_smoke_gate_is_gone(
    world: World,
    old: DeploymentRef,
    new: DeploymentRef,
    scenario: str,
    fields: dict[str, Any],
    changes: dict[str, Any],
    reason: str,
) -> None:
    world.ail(new, scenario, **fields)
    report = smoke(world, new, **changes)
    assert not report.passed
    assert reason in report.summary
    said, _, log = report.summary.partition("\n")
    assert said.endswith("It has been deleted.")
    # Where it did not even answer, its log says why, which is gone with it.
    assert bool(log) is (report.replies[-1].seconds is None)
    assert (world.traffic, world.deployments) == (f"{old.name} 100 %", {old.name})


def test_a_deployment_that_serves_is_not_deleted_when_it_fails_after_a_change(world: World, old: DeploymentRef) -> None:
    world.ail(old, "empty")
    report = smoke(world, old.model_copy(update={"action": "updated"}))
    assert not report.passed
    assert "It gets traffic" in report.summary
    assert world.traffic == f"{old.name} 100 %"


def test_one_that_crashes_at_load_says_so_and_can_be_discarded(world: World, old: DeploymentRef) -> None:
    name = deployment_name(world.models[1])
    world.control.add_scenario("deployment", scenario="crash_at_load", match=name, message="shard 3 is cut off")
    created: list[str] = []
    with pytest.raises(DeploymentFailed, match="shard 3 is cut off"):
        ensure_deployment(world.ws, world.endpoint, world.models[1], SERVING, on_create=created.append)
    assert created == [name]
    assert discard_deployment(world.ws, world.endpoint.name, name)
    assert world.deployments == {old.name}
    assert not discard_deployment(world.ws, world.endpoint.name, old.name)
    assert world.deployments == {old.name}


def test_only_this_projects_deployments_are_discarded(world: World, old: DeploymentRef) -> None:
    found: Any = world.ws.ml.online_deployments.get(old.name, world.endpoint.name)
    assert MANAGED_TAG in found.tags
    move(world.ws, world.now, {})
    found.tags = {}
    world.ws.ml.online_deployments.begin_create_or_update(found).wait()
    assert not discard_deployment(world.ws, world.endpoint.name, old.name)
