"""The training cluster: what is refused before anything is created, and what happens to one that exists."""

from collections.abc import Iterator

import pytest
from azure.core.exceptions import HttpResponseError

from phi_assets.azureml.compute.clusters import ensure_compute
from phi_assets.azureml.compute.vm_sizes import check_size
from phi_assets.azureml.connection import writes
from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import ComputeFailed, ComputeNotAllowed
from phi_assets.azureml.connection.retry import get_or_none
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.ownership import MANAGED_TAG
from phi_assets.config.recipe import ComputeSection, ModelSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import ModelRef
from tests.azureml import toys as toy
from tests.emulator_requests import Requests


@pytest.fixture
def model(toys: Workspace) -> ModelRef:
    return get_foundation_model(toys, toy.MODEL)


@pytest.fixture
def cluster(toys: Workspace) -> Iterator[ComputeSection]:
    """A cluster that does not exist before and after the test."""
    section = ComputeSection(name="own-cluster", size=toy.SIZE)
    yield section
    if get_or_none(lambda: toys.ml.compute.get(section.name)) is not None:
        toys.ml.compute.begin_delete(section.name).wait()


def test_created_once_then_reused_without_a_write(
    toys: Workspace, model: ModelRef, cluster: ComputeSection, emulator: Connection
) -> None:
    created = ensure_compute(toys, cluster, model)
    assert (created.action, created.gpus, created.tier) == ("created", 1, "Dedicated")
    assert created.size.lower() == toy.SIZE.lower()
    with Requests(emulator) as again:
        reused = ensure_compute(toys, cluster, model)
    assert reused == created.model_copy(update={"action": "reused", "reason": reused.reason})
    assert not again.writes


def test_a_changed_limit_is_updated(toys: Workspace, model: ModelRef, cluster: ComputeSection) -> None:
    ensure_compute(toys, cluster, model)
    larger = cluster.model_copy(update={"max_nodes": 3})
    assert ensure_compute(toys, larger, model).action == "updated"
    assert toys.ml.compute.get(cluster.name).max_instances == 3  # type: ignore[attr-defined]
    assert ensure_compute(toys, larger, model).action == "reused"


def test_another_size_under_the_same_name_is_not_silently_used(
    toys: Workspace, model: ModelRef, cluster: ComputeSection
) -> None:
    ensure_compute(toys, cluster, model)
    with pytest.raises(ComputeFailed, match=r"own-cluster exists with VM size .*but the recipe asks for"):
        ensure_compute(toys, cluster.model_copy(update={"size": toy.OTHER_SIZE}), model)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ("Standard_ND40rs_v2", rf"may not fine-tune toy-model version 2.*{toy.SIZE}.*Nothing was created"),
        ("Standard_Nonsense", "Nothing was created"),
    ],
)
def test_a_size_that_the_model_does_not_allow_creates_nothing(
    toys: Workspace, model: ModelRef, size: str, reason: str, emulator: Connection
) -> None:
    with Requests(emulator) as requests, pytest.raises(ComputeNotAllowed, match=reason):
        ensure_compute(toys, ComputeSection(name="never-made", size=size), model)
    assert not requests.writes


@pytest.mark.parametrize(
    ("size", "reason"),
    [("Standard_Nonsense", "not offered in region"), ("Standard_DS3_v2", "has no GPU|not offered in region")],
)
def test_without_a_list_the_region_and_the_gpus_decide(toys: Workspace, size: str, reason: str) -> None:
    free = get_foundation_model(toys, ModelSection(registry="toys", name="free"))
    with pytest.raises(ComputeNotAllowed, match=reason):
        ensure_compute(toys, ComputeSection(name="never-made", size=size), free)


def test_without_a_list_k80_sizes_are_refused(model: ModelRef) -> None:
    with pytest.raises(ComputeNotAllowed, match="K80"):
        check_size("STANDARD_NC6", model.model_copy(update={"finetune_computes": None}))


def test_the_list_is_compared_without_regard_to_case(model: ModelRef) -> None:
    check_size(toy.SIZE.upper(), model)


def test_low_priority_is_taken_where_dedicated_is_refused(
    toys: Workspace, model: ModelRef, cluster: ComputeSection, control: Control
) -> None:
    control.add_scenario("compute", scenario="refused", match=cluster.name, tier="Dedicated", count=None)
    created = ensure_compute(toys, cluster, model)
    assert (created.action, created.tier) == ("created", "LowPriority")
    assert created.reason.startswith("Cluster own-cluster did not exist. Dedicated was refused: ")
    assert ensure_compute(toys, cluster, model).action == "reused"


def test_low_priority_is_taken_where_dedicated_cannot_be_provisioned(
    toys: Workspace, model: ModelRef, cluster: ComputeSection, control: Control
) -> None:
    control.add_scenario("compute", scenario="allocation_failed", match=cluster.name, tier="Dedicated", count=None)
    assert ensure_compute(toys, cluster, model).tier == "LowPriority"


def test_without_any_tier_the_first_reason_is_told_and_nothing_is_left(
    toys: Workspace, model: ModelRef, cluster: ComputeSection, control: Control
) -> None:
    control.add_scenario("compute", scenario="allocation_failed", match=cluster.name, count=None)
    with pytest.raises(ComputeFailed, match=r"Dedicated was refused.*LowPriority was refused.*quota"):
        ensure_compute(toys, cluster, model)
    assert get_or_none(lambda: toys.ml.compute.get(cluster.name)) is None


def test_an_outage_is_not_taken_for_a_refusal(
    toys: Workspace, model: ModelRef, cluster: ComputeSection, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "OUTAGE_PATIENCE_SECONDS", 0.0)
    control.add_fault(method="PUT", route="/computes/{name}", action="status", status=503)
    with pytest.raises(ComputeFailed, match="Run again later"):
        ensure_compute(toys, cluster, model)


def test_a_broken_cluster_of_ours_is_made_again_and_one_of_others_is_not(
    toys: Workspace, model: ModelRef, cluster: ComputeSection, control: Control
) -> None:
    def break_it(**tags: str) -> None:
        control.add_scenario("compute", scenario="allocation_failed", match=cluster.name)
        entity = sdk().entities.AmlCompute(name=cluster.name, size=cluster.size, tags=tags)
        with pytest.raises(HttpResponseError):
            toys.ml.compute.begin_create_or_update(entity).result()

    break_it(**{MANAGED_TAG: "true"})
    again = ensure_compute(toys, cluster, model)
    assert again.action == "created"
    assert again.reason.startswith("Cluster own-cluster was Failed")

    toys.ml.compute.begin_delete(cluster.name).wait()
    break_it()
    with pytest.raises(ComputeFailed, match="is in state Failed"):
        ensure_compute(toys, cluster, model)
