"""Whose things are: what preflight, rollout, teardown, reaper and health sensor do to whose, by the writes they send.

Every kind of thing is made once and then given the tags of each owner in turn, as nothing else of it matters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.billing.bill import read_bill
from phi_assets.azureml.billing.orphans import KnownThings, orphans
from phi_assets.azureml.billing.prices import load_prices
from phi_assets.azureml.billing.reaper import expired_endpoints, reap
from phi_assets.azureml.billing.teardown import carry_out, check_gone, plan_teardown
from phi_assets.azureml.compute.clusters import ensure_compute
from phi_assets.azureml.compute.live_jobs import COMPUTE_TAG, FINGERPRINT_TAG
from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.azureml.connection.errors import AzureMLError, ComputeFailed, DeploymentFailed, EndpointFailed
from phi_assets.azureml.connection.inventory import endpoint_state
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.models.registered import ensure_registered_model
from phi_assets.azureml.ownership import MANAGED_TAG, PROJECT_TAG, RECIPE_TAG, Owner, Whose, maker_of
from phi_assets.azureml.preflight.endpoint import look_at_endpoint
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.preflight.machines import look_at_machines
from phi_assets.azureml.preflight.registered import look_at_registered_model
from phi_assets.azureml.serving.base_model import base_deployment, base_deployment_name
from phi_assets.azureml.serving.deployments import delete_deployment, discard_deployment, ensure_deployment
from phi_assets.azureml.serving.endpoints import ensure_endpoint
from phi_assets.azureml.serving.leases import EXPIRES_TAG, lease_end
from phi_assets.azureml.serving.routing import in_words
from phi_assets.azureml.serving.traffic import ensure_traffic, move, routing_of
from phi_assets.azureml.training.cancelling import cancel_if_submitted
from phi_assets.config.recipe import ComputeSection, PreflightSection, Recipe, ServingSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.emulator.serving.documents import DEPLOYMENT, ENDPOINT, deployment_key, endpoint_key
from phi_assets.emulator.store.state import Document, Store
from phi_assets.refs import DeploymentRef, EndpointRef, JobRef, ModelRef, RegisteredModelRef, TrafficRef
from tests.azureml import toys as toy
from tests.azureml.serving.serving_toys import make_cluster, make_deployment, make_endpoint, register
from tests.emulator_requests import Requests

NAME, JOB = "owned", "phi3-ft-toy"
MINE = Owner("mine", "a")
TAGS: dict[str, dict[str, str]] = {
    "ours": MINE.tags,
    "earlier": {MANAGED_TAG: "true"},
    "other recipe": Owner("mine", "b").tags,
    "other project": Owner("theirs", "a").tags,
    "by hand": {"owner": "alice"},
}
"""What the tags of each owner are. `earlier` is what earlier releases wrote on clusters and deployments."""
OURS = ("ours", "earlier")
STRANGERS = ("other recipe", "other project", "by hand")
EVERYBODY = (*OURS, *STRANGERS)
PROJECTS = (*OURS, "other recipe")

RECIPE = Recipe(
    name="a",
    compute=ComputeSection(name=NAME, size=toy.SIZE),
    serving=ServingSection(
        endpoint=NAME, model_name=NAME, instance_type=toy.SIZE, liveness_initial_delay_seconds=10, lease_hours=2
    ),
)
MAKERS = {
    "earlier": "an earlier release of phi_assets",
    "other recipe": "recipe 'b' of project 'mine'",
    "other project": "recipe 'a' of project 'theirs'",
    "by hand": "somebody, without a tag of phi_assets (owner: alice)",
}


@dataclass
class World:
    """The workspace of project `mine`, and the state of the emulator behind it."""

    ws: Workspace
    emulator: Connection
    model: RegisteredModelRef
    foundation: ModelRef
    lines: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store(next(self.emulator.directory.glob("*.sqlite*")))

    def change(self, kind: str, key: str, change: Callable[[Document], Document]) -> None:
        """Something of it is otherwise, as if it had been made so."""
        assert self.store.update(kind, key, change) is not None

    def give(self, kind: str, key: str, whose: str, **more: str) -> None:
        """The thing has the tags of its owner."""
        tags = TAGS[whose] | more
        if kind == "model":
            self.change(kind, key, lambda found: found | {"properties": found["properties"] | {"tags": tags}})
        else:
            self.change(kind, key, lambda found: found | {"tags": tags})

    def endpoint(self, whose: str, *, ended: bool = False) -> None:
        """There is the endpoint, and it is this owner's."""
        if self.store.get(ENDPOINT, endpoint_key(NAME)) is None:
            make_endpoint(self.ws, NAME)
        lease = datetime.now(UTC) + timedelta(hours=-1 if ended else 2)
        self.give(ENDPOINT, endpoint_key(NAME), whose, **{EXPIRES_TAG: lease.isoformat()})

    def deployment(self, name: str, whose: str) -> None:
        """There is the deployment behind the endpoint, and it is this owner's."""
        if self.store.get(DEPLOYMENT, deployment_key(NAME, name)) is None:
            make_deployment(self.ws, NAME, name, self.model)
        self.give(DEPLOYMENT, deployment_key(NAME, name), whose)

    def traffic(self, **live: int) -> None:
        routing = routing_of(self.ws, NAME)
        wanted = {name.replace("_", "-"): share for name, share in live.items()}
        if not routing.shows(wanted, {}, None):
            move(self.ws, routing, wanted)

    def cluster(self, whose: str, *, name: str = NAME, nodes: int = 0) -> None:
        """There is the cluster, and it is this owner's."""
        if self.store.get("compute", name) is None:
            make_cluster(self.ws, name, tags={})
        self.give("compute", name, whose)

        def change(found: Document) -> Document:
            counts = {"currentNodeCount": nodes, "targetNodeCount": nodes}
            scale = found["properties"]["properties"]["scaleSettings"] | {
                "minNodeCount": 0,
                "maxNodeCount": 1,
                "nodeIdleTimeBeforeScaleDown": "PT300S",
            }
            inner = found["properties"]["properties"] | counts | {"scaleSettings": scale}
            return found | {"properties": found["properties"] | {"properties": inner}}

        self.change("compute", name, change)

    @contextmanager
    def job(self, status: str = "Running", **tags: str) -> Iterator[None]:
        """A job that the service has in this state."""
        kept = {"jobType": "Pipeline", "displayName": JOB, "experimentName": "e", "tags": tags, "properties": {}}
        now = datetime.now(UTC).isoformat()
        document = {"name": JOB, "properties": kept, "submitted": {}, "status": status, "created": now, "run_id": JOB}
        self.store.put("job", JOB, document)
        yield
        self.store.delete("job", JOB)

    @contextmanager
    def writes(self, allowed: Sequence[str] = ()) -> Iterator[None]:
        """In the block, nothing is sent that changes anything but what `allowed` begins."""
        self.lines.clear()
        with Requests(self.emulator) as requests:
            yield
        assert sorted(_short(line) for line in requests.writes) == sorted(allowed)

    @property
    def said(self) -> str:
        return "\n".join(self.lines)


def _short(line: str) -> str:
    """`PUT onlineEndpoints/a` of a request's line."""
    method, _, path = line.partition(" ")
    return f"{method} {path.partition('/workspaces/')[2].partition('/')[2]}"


@pytest.fixture(scope="module")
def made(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Control(emulator) as control:
        control.reset()
    ws = connect_emulator(emulator, project=MINE.project)
    model = register(ws, tmp_path_factory.mktemp("model"), NAME)
    yield World(ws, emulator, model, get_foundation_model(ws, toy.MODEL))
    with Control(emulator) as control:
        control.reset()


@pytest.fixture
def world(made: World) -> World:
    made.give("model", f"{NAME}/1", "ours", **{"phi/job": JOB})
    return made


def codes(look: Callable[[Workspace, Recipe, Findings], object], world: World, *accepted: str) -> list[str]:
    """What a part of preflight finds, with the level of each finding."""
    found = Findings(accepted=accepted)
    with world.writes():
        look(world.ws, RECIPE, found)
    return [f"{finding.level} {finding.code}" for finding in found.all]


# Tags.


def test_what_is_made_says_whose_it_is_and_what_it_does_not_say_is_ours() -> None:
    assert MINE.tags == {MANAGED_TAG: "true", PROJECT_TAG: "mine", RECIPE_TAG: "a"}
    assert Owner("mine").tags == {MANAGED_TAG: "true", PROJECT_TAG: "mine"}
    found = {whose: MINE.whose(tags) for whose, tags in TAGS.items()}
    assert found == {
        "ours": Whose.OURS,
        "earlier": Whose.OURS,
        "other recipe": Whose.OTHER_RECIPE,
        "other project": Whose.OTHER_PROJECT,
        "by hand": Whose.SOMEBODYS,
    }
    # What earlier releases wrote on endpoints, jobs, model versions and data assets.
    assert MINE.owns({MANAGED_TAG: "true", RECIPE_TAG: "a"})
    assert not MINE.owns({MANAGED_TAG: "true", RECIPE_TAG: "b"})
    for tag in ("phi/fingerprint", "phi/job", "phi/sha256"):
        assert MINE.owns({tag: "1"})
    # Azure Resource Manager ignores the case of their names, not of their values.
    assert MINE.whose({"Phi-Managed": "true", "PHI-PROJECT": "Mine"}) is Whose.OTHER_PROJECT
    assert {whose: maker_of(tags) for whose, tags in TAGS.items() if whose in MAKERS} == MAKERS
    assert not MINE.owns(None)


# Endpoints.


@pytest.mark.parametrize(
    ("whose", "found"),
    [
        ("ours", []),
        ("earlier", []),
        ("other recipe", ["error endpoint_of_another_recipe"]),
        ("other project", ["error endpoint_taken"]),
        ("by hand", ["error endpoint_taken"]),
    ],
)
def test_an_endpoint_before_and_in_a_run(world: World, whose: str, found: list[str]) -> None:
    world.endpoint(whose)
    assert codes(look_at_endpoint, world) == found
    code = found[0].partition(" ")[2] if found else ""
    if not found:
        with world.writes([] if whose == "ours" else [f"PUT onlineEndpoints/{NAME}"]):
            ref = ensure_endpoint(world.ws, RECIPE.serving, owner=MINE)
        # One of an earlier release comes to say whose it is.
        assert (ref.action, ref.reason.endswith("lacked tags: phi-project, phi-recipe.")) == (
            ("reused", False) if whose == "ours" else ("updated", True)
        )
    else:
        with world.writes(), pytest.raises(EndpointFailed) as raised:
            ensure_endpoint(world.ws, RECIPE.serving, owner=MINE)
        for part in (f"Endpoint {NAME}", MAKERS[whose], "Nothing was changed", f"`preflight.accept: [{code}]`"):
            assert part in str(raised.value)
        # Accepted, it becomes this recipe's.
        assert codes(look_at_endpoint, world, code) == [f"warning {code}"]
        assert ensure_endpoint(world.ws, RECIPE.serving, owner=MINE, accepted=[code]).action == "updated"
    tags = world.ws.ml.online_endpoints.get(NAME).tags
    assert MINE.is_named_by(tags)


def test_an_endpoint_that_somebody_else_makes_meanwhile_is_not_taken(world: World, control: Control) -> None:
    """Two recipes that begin together with one name: one of them gets it, the other one is told so."""
    world.endpoint("ours")
    world.ws.ml.online_endpoints.begin_delete(name=NAME).wait()
    section = RECIPE.serving
    control.add_fault(plane="arm", method="PUT", path="(?i)/onlineEndpoints/", action="status", status=409, count=1)

    def made_meanwhile(line: str) -> None:
        if "409" in line or "again" in line:
            world.endpoint("other recipe")

    with pytest.raises(EndpointFailed, match="recipe 'b' of project 'mine'"):
        ensure_endpoint(world.ws, section, made_meanwhile, owner=MINE)
    assert Owner("mine", "b").is_named_by(world.ws.ml.online_endpoints.get(NAME).tags)


@pytest.mark.parametrize("whose", EVERYBODY)
def test_an_endpoint_at_a_teardown(world: World, whose: str) -> None:
    world.endpoint(whose)
    plan = plan_teardown(world.ws, RECIPE, read_bill(world.ws, None), cluster=False)
    if whose in OURS:
        assert plan.lines == [f"Delete endpoint {NAME}: no deployment."]
        allowed = [f"DELETE onlineEndpoints/{NAME}"]
    else:
        made_by = f"not ours, left alone, made by {MAKERS[whose]}"
        assert plan.lines == [f"Keep endpoint {NAME}: {made_by}; no deployment."]
        allowed = []
    with world.writes(allowed):
        carry_out(world.ws, plan, world.lines.append)
    check_gone(plan, read_bill(world.ws, None))


def test_an_endpoint_that_changes_hands_after_the_listing_is_left_alone(world: World) -> None:
    world.endpoint("ours")
    plan = plan_teardown(world.ws, RECIPE, read_bill(world.ws, None), cluster=False)
    world.endpoint("by hand")
    with world.writes():
        carry_out(world.ws, plan, world.lines.append)
    assert f"Endpoint {NAME} is not ours: it was made by {MAKERS['by hand']}" in world.said


@pytest.mark.parametrize("whose", EVERYBODY)
def test_an_endpoint_whose_lease_has_ended(world: World, whose: str) -> None:
    world.endpoint(whose, ended=True)
    bill = read_bill(world.ws, None)
    is_ours = whose in PROJECTS
    assert [item.has_expired for item in bill.items] == [is_ours]
    with world.writes([f"DELETE onlineEndpoints/{NAME}"] if is_ours else []):
        assert reap(world.ws, log=world.lines.append) == ([NAME] if is_ours else [])
    left = read_bill(world.ws, None)
    assert left.left_alone == ([] if is_ours else [f"Not ours, left alone: endpoint {NAME}, made by {MAKERS[whose]}."])


@pytest.mark.parametrize("whose", EVERYBODY)
def test_an_endpoint_for_the_health_sensor_and_among_orphans(world: World, whose: str) -> None:
    world.endpoint(whose)
    theirs = endpoint_state(world.ws, NAME).not_ours(MINE)
    assert theirs == (None if whose in OURS else f"Endpoint {NAME} was made by {MAKERS[whose]}.")
    bill = read_bill(world.ws, None)
    # Of the project, and unknown to a graph of nothing.
    assert [item.name for item in orphans(bill, KnownThings())] == ([NAME] if whose in PROJECTS else [])
    assert orphans(bill, KnownThings.of([NAME], [], [])) == []


# Deployments behind an endpoint of ours.


@pytest.fixture
def served(world: World) -> World:
    """An endpoint of ours, whose deployment `live` has all the traffic."""
    world.endpoint("ours")
    world.deployment("live", "ours")
    world.deployment("ft-1", "ours")
    world.traffic(live=100)
    return world


def endpoint_ref() -> EndpointRef:
    return EndpointRef(name=NAME, scoring_uri="", expires_at="", action="reused")


def deployment_ref(world: World, name: str) -> DeploymentRef:
    model, size = world.model.id, toy.SIZE
    return DeploymentRef(
        endpoint=NAME, name=name, model_id=model, instance_type=size, instance_count=1, action="reused"
    )


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_deployment_before_a_run(served: World, whose: str) -> None:
    served.deployment("ft-1", whose)
    served.deployment("live", whose)
    found = codes(look_at_endpoint, served)
    assert found == ([] if whose in OURS else ["error deployment_taken", "warning deployment_left"])
    if found:
        assert codes(look_at_endpoint, served, "deployment_taken")[0] == "warning deployment_taken"


@pytest.mark.parametrize("state", ["Succeeded", "Failed"])
@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_deployment_under_the_name_of_ours(served: World, whose: str, state: str) -> None:
    serving = RECIPE.serving.model_copy(update={"instance_count": 2})
    served.deployment("ft-1", whose)
    key = deployment_key(NAME, "ft-1")
    # With one machine, so that it differs.
    served.change(DEPLOYMENT, key, lambda found: found | {"state": state, "sku": found["sku"] | {"capacity": 1}})
    try:
        if whose in OURS:
            thing = f"onlineEndpoints/{NAME}/deployments/ft-1"
            with served.writes([f"PUT {thing}", *([f"DELETE {thing}"] if state == "Failed" else [])]):
                ensure_deployment(served.ws, endpoint_ref(), served.model, serving, owner=MINE)
            assert MINE.is_named_by(served.ws.ml.online_deployments.get("ft-1", NAME).tags)
            return
        with served.writes(), pytest.raises(DeploymentFailed) as raised:
            ensure_deployment(served.ws, endpoint_ref(), served.model, serving, owner=MINE)
        for part in (f"Deployment ft-1 of endpoint {NAME}", MAKERS[whose], "left alone, and is billing", "Delete it"):
            assert part in str(raised.value)
        with served.writes():
            assert not discard_deployment(served.ws, NAME, "ft-1", served.lines.append, owner=MINE)
            delete_deployment(served.ws, NAME, "ft-1", owner=MINE)
        assert MAKERS[whose] in served.said
    finally:
        served.store.update(DEPLOYMENT, key, lambda found: found | {"state": "Succeeded"})


def test_nothing_is_deployed_on_an_endpoint_that_has_changed_hands(served: World) -> None:
    served.endpoint("by hand")
    larger = RECIPE.serving.model_copy(update={"instance_count": 3})
    live = deployment_ref(served, "ft-1")
    with served.writes():
        with pytest.raises(DeploymentFailed, match=r"is not ours any more.*Nothing was deployed"):
            ensure_deployment(served.ws, endpoint_ref(), served.model, larger, owner=MINE)
        with pytest.raises(AzureMLError, match="its traffic is left as it is"):
            ensure_traffic(served.ws, endpoint_ref(), live, owner=MINE)


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_deployment_that_a_rollout_has_replaced(served: World, whose: str) -> None:
    served.deployment("ft-1", whose)
    with served.writes([f"DELETE onlineEndpoints/{NAME}/deployments/ft-1"] if whose in OURS else []):
        ref = ensure_traffic(served.ws, endpoint_ref(), deployment_ref(served, "live"), served.lines.append, owner=MINE)
    assert ref.retired == (("ft-1",) if whose in OURS else ())
    if whose not in OURS:
        assert f"Deployment ft-1 is not ours: it was made by {MAKERS[whose]}. It is left alone" in served.said


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_deployment_behind_an_endpoint_that_is_torn_down(served: World, whose: str) -> None:
    served.deployment("ft-1", whose)
    plan = plan_teardown(served.ws, RECIPE, read_bill(served.ws, load_prices()), cluster=False)
    if whose in OURS:
        assert plan.lines == [f"Delete endpoint {NAME}: 2 deployment(s) (live, ft-1), 7.35 USD an hour."]
        return
    cost = f"1 x {toy.SIZE}, 3.67 USD an hour"
    assert plan.lines == [
        f"Keep endpoint {NAME}: a deployment behind it is not ours.",
        f"Keep deployment {NAME}/ft-1: not ours, left alone, made by {MAKERS[whose]}; {cost}.",
        f"Delete deployment {NAME}/live: {cost}.",
    ]
    # Of ours nothing is left; what is theirs, and the place where it is, stays.
    with served.writes([f"PUT onlineEndpoints/{NAME}", f"DELETE onlineEndpoints/{NAME}/deployments/live"]):
        carry_out(served.ws, plan, served.lines.append)
    left = read_bill(served.ws, None)
    check_gone(plan, left)
    assert [item.name for item in left.of("deployment")] == [f"{NAME}/ft-1"]
    assert in_words(routing_of(served.ws, NAME).live) == "nowhere"


def test_a_deployment_of_somebody_else_takes_over_the_traffic_of_one_that_is_torn_down(served: World) -> None:
    served.deployment("ft-1", "by hand")
    served.traffic(live=90, ft_1=10)
    plan = plan_teardown(served.ws, RECIPE, read_bill(served.ws, None), cluster=False)
    carry_out(served.ws, plan)
    assert in_words(routing_of(served.ws, NAME).live) == "ft-1 100 %"
    served.traffic()


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_deployment_behind_an_endpoint_whose_lease_has_ended(served: World, whose: str) -> None:
    served.deployment("ft-1", whose)
    served.endpoint("ours", ended=True)
    if whose in PROJECTS:
        assert expired_endpoints(served.ws) == [NAME]
        return
    allowed = [f"PUT onlineEndpoints/{NAME}", f"DELETE onlineEndpoints/{NAME}/deployments/live"]
    with served.writes(allowed):
        assert reap(served.ws, log=served.lines.append) == []
    assert f"Deployment ft-1 is not ours: it was made by {MAKERS[whose]}" in served.said
    # From now on there is nothing of ours to end.
    with served.writes():
        assert reap(served.ws, log=served.lines.append) == []
    assert f"what is behind it is not ours (ft-1, made by {MAKERS[whose]})" in served.said


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_deployment_for_the_health_sensor_and_among_orphans(served: World, whose: str) -> None:
    served.deployment("live", whose)
    theirs = endpoint_state(served.ws, NAME).not_ours(MINE)
    assert theirs == (None if whose in OURS else f"Deployment live was made by {MAKERS[whose]}.")
    bill = read_bill(served.ws, None)
    found = [item.name for item in orphans(bill, KnownThings.of([], [f"{NAME}/ft-1"], []))]
    assert found == [NAME, *([f"{NAME}/live"] if whose in PROJECTS else [])]


@pytest.mark.parametrize("whose", [None, *EVERYBODY])
def test_the_base_models_deployment(served: World, whose: str | None) -> None:
    traffic = TrafficRef(
        endpoint=NAME, scoring_uri="", traffic={"live": 100}, model_id=served.model.id, action="reused"
    )
    name = base_deployment_name(served.foundation)
    thing = f"onlineEndpoints/{NAME}/deployments/{name}"
    if whose is not None:
        served.deployment(name, whose)
    if whose is None or whose in OURS:
        with (
            # One that is left from before serves something else here.
            served.writes([f"DELETE {thing}", f"PUT {thing}"]),
            base_deployment(served.ws, traffic, served.foundation, RECIPE.serving, owner=MINE),
        ):
            assert MINE.is_named_by(served.ws.ml.online_deployments.get(name, NAME).tags)
        return
    with (
        served.writes(),
        pytest.raises(DeploymentFailed, match=f"The base model cannot be asked.*{name}.*left alone, and is billing"),
        base_deployment(served.ws, traffic, served.foundation, RECIPE.serving, owner=MINE),
    ):
        raise AssertionError
    served.give(DEPLOYMENT, deployment_key(NAME, name), "ours")
    delete_deployment(served.ws, NAME, name)


# Jobs.


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_job_that_a_run_has_only_waited_for_is_not_cancelled(world: World, whose: str) -> None:
    mark = {} if whose == "by hand" else {FINGERPRINT_TAG: "0"}
    with world.job("Completed", **TAGS[whose] | mark), world.writes():
        ended = cancel_if_submitted(world.ws, JOB, world.lines.append, owner=MINE)
    assert ended is (JobStatus.COMPLETED if whose in OURS else None)
    assert (whose in OURS) == ("it is not cancelled" not in world.said)


# Clusters.


def look_at_cluster(ws: Workspace, recipe: Recipe, found: Findings) -> None:
    look_at_machines(ws, recipe, None, None, found)


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_cluster_as_the_recipe_asks_is_shared_by_the_project(world: World, whose: str) -> None:
    world.cluster(whose, nodes=1)
    is_taken = whose == "other project"
    assert codes(look_at_cluster, world) == (["error cluster_taken"] if is_taken else [])
    with world.writes():
        if not is_taken:
            assert ensure_compute(world.ws, RECIPE.compute, world.foundation, owner=MINE).action == "reused"
            return
        with pytest.raises(ComputeFailed) as raised:
            ensure_compute(world.ws, RECIPE.compute, world.foundation, owner=MINE)
        for part in (f"Compute {NAME}", MAKERS[whose], "nothing was changed", "`preflight.accept: [cluster_taken]`"):
            assert part in str(raised.value)
        accepted = ["cluster_taken"]
        ref = ensure_compute(world.ws, RECIPE.compute, world.foundation, owner=MINE, accepted=accepted)
        assert ref.action == "reused"


@pytest.mark.parametrize("whose", ["by hand", "other project"])
def test_a_cluster_that_has_the_name_by_default_is_not_taken_for_ours(world: World, whose: str) -> None:
    section = ComputeSection(size=toy.SIZE)
    world.cluster(whose, name=section.name)
    with world.writes(), pytest.raises(ComputeFailed) as raised:
        ensure_compute(world.ws, section, world.foundation, owner=MINE)
    assert MAKERS[whose] in str(raised.value)
    assert (f"write `compute.name: {section.name}`" in str(raised.value)) == (whose == "by hand")


@pytest.mark.parametrize("nodes", [0, 1])
@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_cluster_with_other_settings(world: World, whose: str, nodes: int) -> None:
    world.cluster(whose, nodes=nodes)
    larger = RECIPE.compute.model_copy(update={"max_nodes": 2})
    recipe = RECIPE.model_copy(update={"compute": larger})
    found = codes(lambda ws, _, found: look_at_cluster(ws, recipe, found), world)
    is_changed = whose in OURS or (whose == "other recipe" and not nodes)
    expected = {"by hand": ["warning cluster_settings"], "other project": ["error cluster_taken"]}
    assert found == ([] if is_changed else expected.get(whose, ["error cluster_of_another_recipe"]))
    with world.writes([f"PUT computes/{NAME}"] if is_changed else []):
        if is_changed or whose == "by hand":
            ref = ensure_compute(world.ws, larger, world.foundation, owner=MINE)
            assert ref.action == ("updated" if is_changed else "reused")
            assert ("used as it is" in ref.reason) == (whose == "by hand")
        else:
            with pytest.raises(ComputeFailed, match=MAKERS[whose]):
                ensure_compute(world.ws, larger, world.foundation, owner=MINE)
    tags: Any = world.ws.ml.compute.get(NAME).tags
    # Who has made it stays written on it; one of an earlier release comes to say whose it is.
    assert (MINE.tags if whose in OURS else TAGS[whose]).items() <= tags.items()


@pytest.mark.parametrize(
    ("tags", "status", "is_in_use"),
    [
        ({**TAGS["other project"], COMPUTE_TAG: NAME.upper()}, "Queued", True),
        ({**TAGS["other recipe"], COMPUTE_TAG: NAME}, "Completed", False),
        ({**TAGS["other recipe"], COMPUTE_TAG: "elsewhere"}, "Running", False),
        ({FINGERPRINT_TAG: "of an earlier release"}, "NotResponding", True),
        ({"owner": "alice"}, "Running", False),
    ],
)
def test_a_cluster_that_a_job_needs(world: World, tags: dict[str, str], status: str, is_in_use: bool) -> None:
    larger = RECIPE.compute.model_copy(update={"max_nodes": 2})
    with world.job(status, **tags):
        world.cluster("ours")
        (line,) = plan_teardown(world.ws, RECIPE, read_bill(world.ws, None)).lines[-1:]
        assert line.startswith(f"Keep cluster {NAME}: job {JOB} of " if is_in_use else f"Delete cluster {NAME}: idle.")
        world.cluster("other recipe")
        if is_in_use:
            with world.writes(), pytest.raises(ComputeFailed, match=f"job {JOB} of .* is {status}, so it is left"):
                ensure_compute(world.ws, larger, world.foundation, owner=MINE)
        else:
            assert ensure_compute(world.ws, larger, world.foundation, owner=MINE).action == "updated"


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_cluster_at_a_teardown(world: World, whose: str) -> None:
    world.cluster(whose, nodes=0 if whose in OURS else 1)
    recipe = RECIPE.model_copy(update={"serving": ServingSection(endpoint="no-endpoint")})
    plan = plan_teardown(world.ws, recipe, read_bill(world.ws, load_prices()))
    if whose in OURS:
        assert plan.lines == [f"Delete cluster {NAME}: idle."]
    else:
        cost = f"1 x {toy.SIZE.upper()}, 3.67 USD an hour"
        assert plan.lines == [f"Keep cluster {NAME}: not ours, left alone, made by {MAKERS[whose]}; {cost}."]
    with world.writes([f"DELETE computes/{NAME}"] if whose in OURS else []):
        carry_out(world.ws, plan)


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_cluster_on_the_bill(world: World, whose: str) -> None:
    world.cluster(whose, nodes=1)
    bill = read_bill(world.ws, load_prices())
    (item,) = bill.of("cluster")
    found = orphans(bill, KnownThings())
    assert (item in found, item.is_ours) == ((whose in PROJECTS,) * 2)
    said = f"Not ours, left alone: cluster {NAME}, made by {item.maker}, 3.67 USD an hour."
    assert (said in bill.left_alone) == (whose not in PROJECTS)
    # The reaper ends endpoints only.
    with world.writes():
        assert reap(world.ws, only=["no-endpoint"]) == []


# Models.


@pytest.mark.parametrize(
    ("whose", "found"),
    [
        ("ours", []),
        ("earlier", []),
        ("other recipe", ["warning model_of_another_recipe"]),
        ("other project", ["error model_taken"]),
        ("by hand", ["error model_taken"]),
    ],
)
def test_a_model_before_and_in_a_run(world: World, whose: str, found: list[str]) -> None:
    world.give("model", f"{NAME}/1", whose, **{"phi/job": JOB} if whose != "by hand" else {})
    assert codes(look_at_registered_model, world) == found
    nameless = RECIPE.model_copy(update={"serving": ServingSection(model_name="never-registered")})
    assert codes(lambda ws, _, found: look_at_registered_model(ws, nameless, found), world) == []
    # A version that comes from the recipe's job is used whoever has registered it, and no version is ever changed.
    if whose != "by hand":
        job = JobRef(
            name=JOB,
            fingerprint="f",
            display_name=JOB,
            studio_url="",
            status="Completed",
            attempt=1,
            created_at=datetime.fromtimestamp(1, UTC).isoformat(),
            action="reused",
        )
        with world.writes():
            ref = ensure_registered_model(world.ws, job=job, name=NAME, description="", owner=MINE)
        assert (ref.action, ref.version) == ("reused", "1")


@pytest.mark.parametrize("whose", EVERYBODY)
def test_a_model_at_a_teardown(world: World, tmp_path: Path, whose: str) -> None:
    register(world.ws, tmp_path, f"doomed-{whose.replace(' ', '-')}")
    name = f"doomed-{whose.replace(' ', '-')}"
    world.give("model", f"{name}/1", whose)
    recipe = RECIPE.model_copy(update={"serving": ServingSection(endpoint="no-endpoint", model_name=name)})
    plan = plan_teardown(world.ws, recipe, read_bill(world.ws, None), cluster=False, models=True)
    if whose in OURS:
        assert plan.lines == [f"Delete model {name}:1: made by job unknown."]
    else:
        assert plan.lines == [f"Keep model {name}:1: not ours, left alone, made by {MAKERS[whose]}."]
    with world.writes([f"DELETE models/{name}/versions/1"] if whose in OURS else []):
        carry_out(world.ws, plan)


# Leases.


@pytest.mark.parametrize(
    ("tags", "status", "is_held"),
    [
        (MINE.tags, "Running", True),
        (MINE.tags, "Queued", True),
        (MINE.tags, "NotResponding", True),
        (MINE.tags, "Completed", False),
        (MINE.tags, "Failed", False),
        (TAGS["other recipe"], "Running", False),
        (TAGS["other project"], "Running", False),
        (TAGS["by hand"], "Running", False),
        # Of an earlier release: it may be for this recipe.
        ({FINGERPRINT_TAG: "0"}, "Running", True),
    ],
)
def test_a_lease_does_not_end_under_a_job_of_its_recipe(
    world: World, tags: dict[str, str], status: str, is_held: bool
) -> None:
    world.endpoint("ours", ended=True)
    with world.job(status, **tags), world.writes():
        assert expired_endpoints(world.ws, world.lines.append) == ([] if is_held else [NAME])
    if is_held:
        assert f"The lease of endpoint {NAME} has ended, and it stays: job {JOB} of " in world.said
        assert f" is {status}." in world.said


def test_a_lease_does_not_end_under_a_change_or_a_run(served: World) -> None:
    served.endpoint("ours", ended=True)
    key = deployment_key(NAME, "ft-1")
    served.change(DEPLOYMENT, key, lambda found: found | {"state": "Updating"})
    assert expired_endpoints(served.ws, served.lines.append) == []
    assert f"endpoint {NAME} has ended, and it stays: ft-1 is Updating." in served.said
    served.change(DEPLOYMENT, key, lambda found: found | {"state": "Succeeded"})
    with served.writes():
        assert reap(served.ws, held={NAME: "run 1 is at work on it"}, log=served.lines.append) == []
    assert "it stays: run 1 is at work on it." in served.said


def test_jobs_are_asked_for_only_where_a_lease_has_ended(world: World) -> None:
    world.endpoint("ours")
    with Requests(world.emulator) as requests:
        assert expired_endpoints(world.ws) == []
    assert len([line for line in requests.lines if "/msi/" not in line]) == 1


def test_a_lease_begins_with_live_traffic(served: World) -> None:
    served.endpoint("ours", ended=True)
    # Nothing is moved, so nothing begins.
    ensure_traffic(served.ws, endpoint_ref(), deployment_ref(served, "live"), owner=MINE, retire="keep", lease_hours=5)
    assert expired_endpoints(served.ws) == [NAME]
    ensure_traffic(served.ws, endpoint_ref(), deployment_ref(served, "ft-1"), owner=MINE, retire="keep", lease_hours=5)
    ends = lease_end(served.ws.ml.online_endpoints.get(NAME).tags)
    assert ends is not None
    assert timedelta(hours=4.9) < ends - datetime.now(UTC) <= timedelta(hours=5)
    assert expired_endpoints(served.ws) == []


def test_an_accepted_code_is_one_that_a_recipe_may_name() -> None:
    every = ["endpoint_taken", "endpoint_of_another_recipe", "deployment_taken", "cluster_taken", "model_taken"]
    assert PreflightSection(accept=every).accept == every
