"""Networks and identities that companies have: what would not work is said before anything is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.billing.prices import load_prices
from phi_assets.azureml.compute.clusters import delete_compute, ensure_compute
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.preflight.estimate import Training
from phi_assets.azureml.preflight.run import Preflight, run_preflight
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import load_recipe
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.emulator_requests import Requests
from tests.graph_runs import write_recipe

GROUP = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/g"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/phi"
SUBNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets/nodes"
OTHER_SUBNET = SUBNET.replace("nodes", "others")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    changes = {"compute": {"name": "networked"}, "serving": {"endpoint": "networked"}}
    return load_recipe(str(write_recipe(tmp_path / "recipe.yaml", changes)))


@pytest.fixture
def world(workspace: Workspace, control: Control) -> Iterator[Control]:
    yield control
    control.set_storage_auth("keys")
    control.set_network_isolation("Disabled")
    delete_compute(workspace, "networked")
    delete_endpoint(workspace, "networked")


def with_(recipe: Recipe, section: str, **changes: Any) -> Recipe:
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=changes)})


def look(ws: Workspace, recipe: Recipe) -> Preflight:
    training = Training(rows=1000, tokens_per_row=100)
    return run_preflight(ws, recipe, credential="cli", prices=load_prices(), training=training)


def codes(found: Preflight) -> dict[str, str]:
    return {finding.code: finding.level for finding in found.findings}


@pytest.mark.parametrize("identity", [None, "none", "system"])
def test_storage_without_keys_needs_a_user_assigned_identity_with_a_role(
    workspace: Workspace, recipe: Recipe, world: Control, emulator: Connection, identity: str | None
) -> None:
    world.set_storage_auth("identity")
    with Requests(emulator) as requests:
        found = look(workspace, with_(recipe, "compute", identity=identity))
    assert codes(found) == {"keyless_storage": "error"}
    for part in ("'Storage Blob Data Contributor' on /subscriptions/", "/storageAccounts/", "`compute.identity`"):
        assert part in found.in_words
    assert not requests.writes
    assert found.facts["storage_takes_keys"] == "no"


def test_whether_the_identity_has_the_role_is_unknown_and_said(
    workspace: Workspace, recipe: Recipe, world: Control
) -> None:
    world.set_storage_auth("identity")
    own = with_(recipe, "compute", identity=IDENTITY)
    found = look(workspace, own)
    assert codes(found) == {"keyless_role_unknown": "warning"}
    assert IDENTITY in found.in_words
    assert "Storage Blob Data Contributor" in found.in_words
    # A recipe that says nothing goes by the cluster that is there.
    world.set_storage_auth("keys")
    assert not look(workspace, own).findings
    ensure_compute(workspace, own.compute, get_foundation_model(workspace, own.model))
    world.set_storage_auth("identity")
    assert codes(look(workspace, recipe)) == {"keyless_role_unknown": "warning"}


def test_keys_that_storage_refuses_and_the_workspace_still_hands_out(
    workspace: Workspace, recipe: Recipe, world: Control
) -> None:
    world.set_storage_auth("keys_refused")
    found = look(workspace, recipe)
    assert codes(found) == {"storage_keys_refused": "error", "keyless_storage": "error"}
    assert "az ml workspace update" in found.in_words


def test_an_account_that_may_not_be_seen_is_unknown(workspace: Workspace, recipe: Recipe, world: Control) -> None:
    fault = world.add_fault(plane="arm", path="/storageAccounts/", action="status", status=403)
    found = look(workspace, recipe)
    assert world.fault(fault).applied
    assert not found.findings
    assert found.facts["storage_takes_keys"] == "unknown"


def test_nodes_without_public_addresses_need_a_network(workspace: Workspace, recipe: Recipe, world: Control) -> None:
    closed = with_(recipe, "compute", public_ip=False)
    found = look(workspace, closed)
    assert codes(found) == {"nodes_without_network": "error"}
    assert "`compute.subnet`" in found.in_words
    assert not look(workspace, with_(closed, "compute", subnet=SUBNET)).findings
    world.set_network_isolation("AllowInternetOutbound")
    assert not look(workspace, closed).findings


def test_a_clusters_network_cannot_be_changed(workspace: Workspace, recipe: Recipe, world: Control) -> None:
    own = with_(recipe, "compute", subnet=SUBNET, public_ip=False)
    ensure_compute(workspace, own.compute, get_foundation_model(workspace, own.model))
    assert not look(workspace, own).findings
    assert not look(workspace, recipe).findings, "a recipe that says nothing takes it as it is"
    found = look(workspace, with_(own, "compute", subnet=OTHER_SUBNET, public_ip=True))
    assert codes(found) == {"cluster_network": "error"}
    assert "compute.subnet" in found.in_words
    assert "compute.public_ip" in found.in_words


def test_egress_is_not_for_a_workspace_with_a_managed_network(
    workspace: Workspace, recipe: Recipe, world: Control
) -> None:
    legacy = with_(recipe, "serving", egress_public_network_access="disabled")
    assert not look(workspace, legacy).findings
    world.set_network_isolation("AllowOnlyApprovedOutbound")
    assert codes(look(workspace, legacy)) == {"egress_of_managed_network": "error"}


def test_a_private_endpoint_is_asked_from_here_all_the_same(
    workspace: Workspace, recipe: Recipe, world: Control
) -> None:
    found = look(workspace, with_(recipe, "serving", public_network_access="disabled"))
    assert codes(found) == {"endpoint_private": "warning"}


def test_an_endpoints_identity_cannot_be_changed(workspace: Workspace, recipe: Recipe, world: Control) -> None:
    ensure_endpoint(workspace, recipe.serving)
    assert not look(workspace, with_(recipe, "serving", identity="system")).findings
    assert codes(look(workspace, with_(recipe, "serving", identity=IDENTITY))) == {"endpoint_identity": "error"}
