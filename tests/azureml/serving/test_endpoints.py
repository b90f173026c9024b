"""What the endpoint is called in which workspace, and the networks and identities that it may have."""

from collections.abc import Iterator
from typing import Any

import pytest

from phi_assets.azureml.billing.bill import read_bill
from phi_assets.azureml.billing.teardown import carry_out, check_gone, plan_teardown
from phi_assets.azureml.compute.identities import identity_of
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import EndpointFailed
from phi_assets.azureml.connection.status import service_text
from phi_assets.azureml.preflight.endpoint import look_at_endpoint
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.config.endpoint_names import endpoint_names, workspace_path
from phi_assets.config.limits import ENDPOINT_NAME
from phi_assets.config.recipe import Recipe, ServingSection
from phi_assets.config.recipe_files import load_recipe
from phi_assets.emulator.process import Connection
from tests.emulator_requests import Requests

IDENTITY = (
    "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/g"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/phi"
)
MINE = Recipe(name="mine")
OLD = "ultrachat-completion"


@pytest.fixture
def names(workspace: Workspace) -> Iterator[tuple[str, ...]]:
    """Of the recipe's endpoint; none of them exists before and after the test."""
    names = endpoint_names(MINE.serving, MINE.name, workspace.path)
    yield names
    for name in names:
        delete_endpoint(workspace, name)


@pytest.fixture
def endpoint(workspace: Workspace) -> Iterator[ServingSection]:
    section = ServingSection(endpoint="networks-endpoint")
    yield section
    delete_endpoint(workspace, "networks-endpoint")


def ensure(ws: Workspace, recipe: Recipe, lines: list[str] | None = None) -> str:
    log = (lines if lines is not None else []).append
    return ensure_endpoint(ws, recipe.serving, log, owner=ws.owner(recipe.name)).name


def test_a_name_is_that_of_the_recipe_in_its_workspace_and_one_that_the_service_takes() -> None:
    here = workspace_path("11111111-1111-4111-8111-111111111111", "group", "workspace")
    others = [
        workspace_path("22222222-2222-4222-8222-222222222222", "group", "workspace"),
        workspace_path("11111111-1111-4111-8111-111111111111", "other", "workspace"),
        workspace_path("11111111-1111-4111-8111-111111111111", "group", "other"),
    ]
    found = [endpoint_names(MINE.serving, MINE.name, path)[0] for path in [here, *others]]
    assert len(set(found)) == 4
    assert found[0] == "mine-3a228f44"
    assert all(ENDPOINT_NAME.problem(name) is None for name in found)
    # Azure Resource Manager ignores the case of ids.
    assert endpoint_names(MINE.serving, MINE.name, here.upper())[0] == found[0]
    assert endpoint_names(MINE.serving, MINE.name, here)[1:] == ("ultrachat-completion-5cdc8e92", OLD)
    assert endpoint_names(ServingSection(endpoint="my-own"), MINE.name, here) == ("my-own",)


@pytest.mark.parametrize("recipe", ["a", "7B of Phi", "Ünïcode.v2", "a-very-long-name-of-a-recipe-that-goes-on", "-"])
def test_any_name_of_a_recipe_gives_a_name_of_its_own_for_its_endpoint(recipe: str) -> None:
    name = endpoint_names(MINE.serving, recipe, "/workspace")[0]
    assert ENDPOINT_NAME.problem(name) is None
    assert name != endpoint_names(MINE.serving, f"{recipe} too", "/workspace")[0]


@pytest.mark.parametrize("recipe", ["phi4_ultrachat", "phi3_mini_ultrachat"])
def test_the_recipes_for_azure_fix_no_name(recipe: str) -> None:
    assert load_recipe(recipe).serving.endpoint is None


def test_a_new_endpoint_gets_the_suffix_and_is_found_and_ended_by_it(
    workspace: Workspace, names: tuple[str, ...]
) -> None:
    assert ensure(workspace, MINE) == names[0] == ensure(workspace, MINE)
    plan = plan_teardown(workspace, MINE, read_bill(workspace, None), cluster=False)
    assert plan.of("endpoint") == [names[0]]
    carry_out(workspace, plan)
    check_gone(plan, read_bill(workspace, None))


def test_the_recipes_endpoint_of_before_is_used_on_and_ended(
    workspace: Workspace, names: tuple[str, ...], emulator: Connection
) -> None:
    before = MINE.model_copy(update={"serving": ServingSection(endpoint=OLD)})
    assert ensure(workspace, before) == OLD
    lines: list[str] = []
    with Requests(emulator) as requests:
        assert ensure(workspace, MINE, lines) == OLD
        found = Findings()
        look_at_endpoint(workspace, MINE, found)
    assert not requests.writes
    assert f"a new one would be {names[0]}" in lines[0]
    assert not found.all
    assert found.facts["endpoint"] == OLD
    plan = plan_teardown(workspace, MINE, read_bill(workspace, None), cluster=False)
    assert plan.of("endpoint") == [OLD]


def test_an_endpoint_of_the_old_name_that_is_another_recipes_is_left_alone(
    workspace: Workspace, names: tuple[str, ...]
) -> None:
    other = Recipe(name="other", serving=ServingSection(endpoint=OLD))
    ensure(workspace, other)
    assert ensure(workspace, MINE) == names[0]
    plan = plan_teardown(workspace, MINE, read_bill(workspace, None), cluster=False)
    assert plan.of("endpoint") == [names[0]]


@pytest.mark.parametrize(("identity", "has"), [(None, "system"), ("system", "system"), (IDENTITY, IDENTITY)])
def test_an_endpoint_is_created_with_the_identity_of_the_recipe(
    workspace: Workspace, endpoint: ServingSection, emulator: Connection, identity: str | None, has: str
) -> None:
    section = changed(endpoint, identity=identity)
    assert ensure_endpoint(workspace, section).action == "created"
    assert identity_of(workspace.ml.online_endpoints.get("networks-endpoint")) == has
    with Requests(emulator) as again:
        assert ensure_endpoint(workspace, section).action == "reused"
    assert not again.writes
    # A change of something else sends back what the service has shown.
    assert ensure_endpoint(workspace, changed(section, tags={"owner": "me"})).action == "updated"
    assert identity_of(workspace.ml.online_endpoints.get("networks-endpoint")) == has


def test_an_endpoints_identity_cannot_be_changed(workspace: Workspace, endpoint: ServingSection) -> None:
    ensure_endpoint(workspace, endpoint)
    with pytest.raises(EndpointFailed, match=r"exists with identity system, not /subscriptions.*cannot be changed"):
        ensure_endpoint(workspace, changed(endpoint, identity=IDENTITY))


def test_public_network_access_is_set_and_changed(workspace: Workspace, endpoint: ServingSection) -> None:
    assert ensure_endpoint(workspace, changed(endpoint, public_network_access="disabled")).action == "created"
    assert access(workspace) == "disabled"
    assert ensure_endpoint(workspace, endpoint).action == "reused"
    opened = ensure_endpoint(workspace, changed(endpoint, public_network_access="enabled"))
    assert (opened.action, "was disabled" in opened.reason) == ("updated", True)
    assert access(workspace) == "enabled"


def changed(section: ServingSection, **changes: Any) -> ServingSection:
    return ServingSection(**{**section.model_dump(), **changes})


def access(ws: Workspace) -> str:
    found: Any = ws.ml.online_endpoints.get("networks-endpoint")
    return service_text(found.public_network_access).lower()
