"""A teardown lists first, deletes what is its own, waits, and proves that nothing of it is left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.billing.bill import read_bill
from phi_assets.azureml.billing.prices import load_prices
from phi_assets.azureml.billing.teardown import TeardownPlan, carry_out, check_gone, plan_teardown
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ListingFailed, TeardownIncomplete
from phi_assets.azureml.connection.retry import get_or_none
from phi_assets.azureml.ownership import MANAGED_TAG
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.config.recipe import ComputeSection, Recipe, ServingSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.emulator.store.state import Store
from phi_assets.refs import JobRef, RegisteredModelRef
from tests.azureml import toys as toy
from tests.azureml.serving.serving_toys import make_cluster, make_deployment, make_endpoint, register
from tests.e2e.harness.processes import until
from tests.emulator_requests import Requests

RECIPE = Recipe(
    name="doomed",
    compute=ComputeSection(name="doomed", size=toy.SIZE),
    serving=ServingSection(endpoint="doomed", model_name="doomed", instance_type=toy.SIZE),
)
OURS = {MANAGED_TAG: "true"}


@pytest.fixture
def world(emulator: Connection, toys: Workspace, tmp_path: Path) -> Iterator[RegisteredModelRef]:
    """Everything that a recipe makes, and what others have made."""
    with Control(emulator) as control:
        control.reset()
    model = register(toys, tmp_path, "doomed")
    register(toys, tmp_path, "doomed", version="2", ours=False)
    make_endpoint(toys, "doomed", OURS)
    make_deployment(toys, "doomed", "ft-1", model, count=2, tags=OURS)
    make_deployment(toys, "doomed", "ft-2", model, tags=OURS)
    make_cluster(toys, "doomed", nodes=1, tags=OURS)
    yield model
    with Control(emulator) as control:
        control.reset()


def plan(ws: Workspace, **options: Any) -> TeardownPlan:
    return plan_teardown(ws, RECIPE, read_bill(ws, load_prices()), **options)


def versions(ws: Workspace) -> set[str]:
    return {str(model.version) for model in get_or_none(lambda: list(ws.ml.models.list("doomed"))) or []}


def test_the_listing_names_everything_and_deletes_nothing(
    toys: Workspace, world: RegisteredModelRef, emulator: Connection
) -> None:
    _ = toys.location
    with Requests(emulator) as requests:
        listed = plan(toys, models=True)
    assert listed.lines == [
        "Delete endpoint doomed: 2 deployment(s) (ft-1, ft-2), 11.02 USD an hour.",
        "Delete cluster doomed: idle.",
        "Keep model doomed:2: not ours, left alone, made by somebody, without a tag of phi_assets.",
        "Delete model doomed:1: made by job phi3-ft-toy.",
    ]
    assert requests.writes == []


def test_nothing_is_billing_afterwards(toys: Workspace, world: RegisteredModelRef) -> None:
    doomed = plan(toys)
    carry_out(toys, doomed)
    left = read_bill(toys, load_prices())
    check_gone(doomed, left)
    assert left.items == ()
    assert get_or_none(lambda: toys.ml.compute.get("doomed")) is None
    # Models cost next to nothing, and are only deleted on request.
    assert versions(toys) == {"1", "2"}
    assert plan(toys).lines == ["There is nothing of this recipe to delete."]


def test_models_go_on_request_and_the_cluster_can_stay(toys: Workspace, world: RegisteredModelRef) -> None:
    carry_out(toys, plan(toys, cluster=False, models=True))
    assert versions(toys) == {"2"}
    assert [item.name for item in read_bill(toys, None).items] == ["doomed"]


def test_a_model_that_something_else_serves_is_kept(toys: Workspace, world: RegisteredModelRef) -> None:
    make_endpoint(toys, "elsewhere")
    make_deployment(toys, "elsewhere", "theirs", world)
    doomed = plan(toys, models=True)
    assert "Keep model doomed:1: it serves elsewhere/theirs." in doomed.lines
    carry_out(toys, doomed)
    assert versions(toys) == {"1", "2"}
    left = read_bill(toys, None)
    check_gone(doomed, left)
    assert [item.name for item in left.items] == ["elsewhere", "elsewhere/theirs"]


def test_a_cluster_of_somebody_else_is_kept(toys: Workspace, world: RegisteredModelRef) -> None:
    make_cluster(toys, "theirs", tags={})
    recipe = RECIPE.model_copy(update={"compute": ComputeSection(name="theirs", size=toy.SIZE)})
    listed = plan_teardown(toys, recipe, read_bill(toys, None))
    made_by = "not ours, left alone, made by somebody, without a tag of phi_assets"
    assert f"Keep cluster theirs: {made_by}." in listed.lines


def test_a_cluster_that_a_job_needs_is_kept(
    toys: Workspace, world: RegisteredModelRef, tmp_path: Path, gate: Path, background: Any
) -> None:
    names: list[str] = []
    request = toy.make_request(toys, tmp_path, prefix="at work: ", gate=str(gate))
    request = replace(request, compute=request.compute.model_copy(update={"name": "doomed"}))
    running = background.submit(ensure_job, toys, request=request, on_name=names.append)
    try:
        name = until(lambda: names[0] if names else None, 60, "no job is submitted")
        until(lambda: get_or_none(lambda: toys.ml.jobs.get(name)), 60, "no job is there")
        (line,) = [line for line in plan(toys).lines if "cluster" in line]
        assert line.startswith(f"Keep cluster doomed: job {name} of project 'phi_assets' is ")
    finally:
        gate.touch()
    job: JobRef = running.result(timeout=120)
    assert job.name == name
    until(lambda: "Delete cluster doomed: idle." in plan(toys).lines, 60, "the cluster does not become idle")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"nodeStateCounts": {"runningNodeCount": 1, "preparingNodeCount": 2}}, "3 node(s) are at work"),
        ({"targetNodeCount": 4}, "it is growing to 4 node(s)"),
        ({"currentNodeCount": 3, "targetNodeCount": 3, "nodeStateCounts": {"idleNodeCount": 3}}, None),
        ({"currentNodeCount": 2, "targetNodeCount": 0, "nodeStateCounts": {"leavingNodeCount": 2}}, None),
    ],
)
def test_a_cluster_whose_nodes_are_needed_is_kept(
    toys: Workspace, world: RegisteredModelRef, emulator: Connection, changes: dict[str, Any], why: str | None
) -> None:
    def change(document: dict[str, Any]) -> dict[str, Any]:
        inner = document["properties"]["properties"] | changes
        return document | {"properties": document["properties"] | {"properties": inner}}

    store = Store(next(emulator.directory.glob("*.sqlite*")))
    assert store.update("compute", "doomed", change) is not None
    (line,) = [line for line in plan(toys).lines if "cluster" in line]
    expected = f"Keep cluster doomed: {why}; it shrinks by itself once it is idle." if why else None
    assert line == (expected or "Delete cluster doomed: idle.")


def test_what_comes_back_is_named(toys: Workspace, world: RegisteredModelRef) -> None:
    doomed = plan(toys)
    with pytest.raises(TeardownIncomplete, match="doomed, doomed/ft-1, doomed/ft-2, doomed"):
        check_gone(doomed, read_bill(toys, None))


def test_a_refused_listing_deletes_nothing(toys: Workspace, world: RegisteredModelRef, control: Control) -> None:
    bill = read_bill(toys, None)
    control.add_fault(plane="arm", method="GET", path="(?i)/computes/doomed$", action="status", status=403)
    with pytest.raises(ListingFailed, match="Nothing was deleted"):
        plan_teardown(toys, RECIPE, bill)


def test_a_model_that_cannot_be_deleted_is_named(toys: Workspace, world: RegisteredModelRef, control: Control) -> None:
    control.add_fault(plane="arm", method="DELETE", path="(?i)/models/", action="status", status=403)
    with pytest.raises(TeardownIncomplete, match=r"doomed:1 could not be deleted: 403"):
        carry_out(toys, plan(toys, models=True))
    assert [item.name for item in read_bill(toys, None).items] == []
