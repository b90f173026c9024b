"""What the region's quotas show of limits and of cores in use, through the SDK."""

from collections.abc import Iterator
from typing import Any

import pytest

from phi_assets.azureml.connection.client import connect_emulator
from phi_assets.emulator.control import Control, ControlError
from phi_assets.emulator.process import Connection

FAMILY = "standardNCADSA100v4Family"
DEDICATED = "Total Cluster Dedicated Regional vCPUs"
LOW_PRIORITY = "Total Cluster LowPriority Regional vCPUs"


@pytest.fixture
def workspace(clean_emulator: Connection) -> Any:
    return connect_emulator(clean_emulator)


@pytest.fixture(autouse=True)
def empty_afterwards(control: Control) -> Iterator[None]:
    yield
    control.reset()


def usages(workspace: Any) -> dict[str, tuple[int, int]]:
    """In use and limit, by name. The SDK keeps some fields under the service's own names."""
    return {
        usage.name["value"]: (vars(usage)["currentValue"], usage.limit) for usage in workspace.ml.compute.list_usage()
    }


def create(workspace: Any, name: str, tier: str, nodes: int) -> None:
    from azure.ai.ml.entities import AmlCompute

    cluster = AmlCompute(
        name=name, size="Standard_NC24ads_A100_v4", tier=tier, min_instances=nodes, max_instances=max(nodes, 1)
    )
    workspace.ml.compute.begin_create_or_update(cluster).result()


def test_every_family_is_shown_as_the_portal_names_it(workspace: Any) -> None:
    shown = {usage.name["value"]: usage.name["localizedValue"] for usage in workspace.ml.compute.list_usage()}
    families = {str(size.family) for size in workspace.ml.compute.list_sizes()}
    assert families < set(shown)
    assert shown[FAMILY] == "Standard NCADSA100v4 Family Cluster Dedicated vCPUs"
    assert shown[DEDICATED] == DEDICATED


def test_nodes_count_while_a_cluster_has_them(workspace: Any) -> None:
    create(workspace, "idle", "dedicated", 0)
    assert usages(workspace)[FAMILY][0] == usages(workspace)[DEDICATED][0] == 0
    create(workspace, "busy", "dedicated", 2)
    create(workspace, "cheap", "low_priority", 1)
    found = usages(workspace)
    assert found[FAMILY][0] == found[DEDICATED][0] == 48
    assert found[LOW_PRIORITY][0] == 24
    assert found["Total Clusters"][0] == 3


def test_limits_are_set_and_forgotten(workspace: Any, control: Control) -> None:
    generous = usages(workspace)
    control.set_quotas(**{FAMILY: 24, LOW_PRIORITY: 0})
    found = usages(workspace)
    assert found[FAMILY] == (0, 24)
    assert found[LOW_PRIORITY] == (0, 0)
    assert found[DEDICATED] == generous[DEDICATED]
    control.reset()
    assert usages(workspace) == generous
    with pytest.raises(ControlError):
        control.set_quotas(**{FAMILY: -2})
