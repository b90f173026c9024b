"""Clusters with identities, subnets and without public addresses, sent by the SDK and read back."""

from collections.abc import Iterator
from typing import Any

import pytest

from phi_assets.azureml.compute.clusters import delete_compute, ensure_compute
from phi_assets.azureml.compute.identities import identity_of
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ComputeFailed
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.config.recipe import ComputeSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import ModelRef
from tests.azureml import toys as toy
from tests.emulator_requests import Requests

GROUP = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/g"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/phi"
SUBNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets/nodes"


@pytest.fixture(scope="module")
def model(toys: Workspace) -> ModelRef:
    return get_foundation_model(toys, toy.MODEL)


@pytest.fixture
def section(toys: Workspace) -> Iterator[ComputeSection]:
    section = ComputeSection(name="networks", size=toy.SIZE)
    yield section
    delete_compute(toys, section.name)


def changed(section: ComputeSection, **changes: Any) -> ComputeSection:
    return ComputeSection(**{**section.model_dump(), **changes})


@pytest.mark.parametrize(
    ("given", "has"), [(None, "none"), ("none", "none"), ("system", "system"), (IDENTITY, IDENTITY)]
)
def test_a_cluster_is_created_with_the_identity_of_the_recipe(
    toys: Workspace, model: ModelRef, section: ComputeSection, emulator: Connection, given: str | None, has: str
) -> None:
    wanted = changed(section, identity=given)
    assert ensure_compute(toys, wanted, model).action == "created"
    assert identity_of(toys.ml.compute.get(section.name)) == has
    with Requests(emulator) as again:
        assert ensure_compute(toys, changed(section, identity=given and given.replace("phi", "PHI")), model)
    assert not again.writes


def test_an_identity_that_differs_is_updated_and_one_that_nobody_asks_for_stays(
    toys: Workspace, model: ModelRef, section: ComputeSection
) -> None:
    ensure_compute(toys, section, model)
    updated = ensure_compute(toys, changed(section, identity=IDENTITY), model)
    assert (updated.action, f"identity none -> {IDENTITY}" in updated.reason) == ("updated", True)
    assert ensure_compute(toys, section, model).action == "reused"
    assert identity_of(toys.ml.compute.get(section.name)) == IDENTITY
    assert ensure_compute(toys, changed(section, identity="none"), model).action == "updated"
    assert identity_of(toys.ml.compute.get(section.name)) == "none"


def test_a_subnet_is_kept_by_updates_and_cannot_be_changed(
    toys: Workspace, model: ModelRef, section: ComputeSection
) -> None:
    closed = changed(section, subnet=SUBNET, public_ip=False)
    assert ensure_compute(toys, closed, model).action == "created"
    cluster: Any = toys.ml.compute.get(section.name)
    assert cluster.network_settings.subnet == SUBNET
    assert cluster.enable_node_public_ip is False
    assert ensure_compute(toys, changed(closed, max_nodes=2), model).action == "updated"
    cluster = toys.ml.compute.get(section.name)
    assert (cluster.network_settings.subnet, cluster.max_instances) == (SUBNET, 2)
    assert ensure_compute(toys, changed(section, max_nodes=2), model).action == "reused"
    with pytest.raises(ComputeFailed, match=r"exists with subnet .*nodes, but the recipe asks for .*cannot be changed"):
        ensure_compute(toys, changed(closed, subnet=SUBNET.replace("nodes", "others")), model)
    with pytest.raises(ComputeFailed, match=r"exists with public_ip False, but the recipe asks for True"):
        ensure_compute(toys, changed(closed, public_ip=True), model)


def test_nodes_without_public_addresses_need_a_network(
    toys: Workspace, model: ModelRef, section: ComputeSection, control: Control
) -> None:
    closed = changed(section, public_ip=False)
    with pytest.raises(ComputeFailed, match="'enableNodePublicIp' is not valid"):
        ensure_compute(toys, closed, model)
    control.set_network_isolation("AllowInternetOutbound")
    try:
        assert ensure_compute(toys, closed, model).action == "created"
    finally:
        control.set_network_isolation("Disabled")
