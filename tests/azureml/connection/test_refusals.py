"""Refusals that people meet, through the real SDK: who or what stands behind them is named, and what to do."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from phi_assets.azureml.compute.clusters import delete_compute, ensure_compute
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ComputeFailed, EndpointFailed
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.serving import endpoints
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.config.recipe import ComputeSection, ServingSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml import toys as toy
from tests.emulator_requests import Requests

CLUSTER = ComputeSection(name="refused", size=toy.SIZE, tiers=("Dedicated",))
ENDPOINT = ServingSection(endpoint="refused", instance_type=toy.SIZE)
ASSIGNMENT = {"name": "only-small-machines", "id": "/subscriptions/s/providers/Microsoft.Authorization/pa/x"}
DEFINITION = {"name": "Allowed machine sizes", "id": "/providers/Microsoft.Authorization/pd/y"}

OLDER_FORM = {
    "code": "RequestDisallowedByPolicy",
    "message": "Resource 'refused' was disallowed by policy. Policy identifiers: "
    f"'{json.dumps([{'policyAssignment': ASSIGNMENT, 'policyDefinition': DEFINITION}])}'.",
}
NEWER_FORM = {
    "code": "RequestDisallowedByPolicy",
    "target": "refused",
    "message": "Resource 'refused' was disallowed by policy. Reasons: 'Ask the platform team.'. See error details for "
    "policy resource IDs.",
    "additionalInfo": [
        {
            "type": "PolicyViolation",
            "info": {
                "policyDefinitionDisplayName": "Allowed machine sizes",
                "policyAssignmentName": "only-small-machines",
                "policyDefinitionEffect": "deny",
            },
        }
    ],
}


@pytest.mark.parametrize("form", [OLDER_FORM, NEWER_FORM], ids=["in the message", "in additionalInfo"])
@pytest.mark.parametrize("what", ["cluster", "endpoint"])
def test_a_policy_is_named_at_once(
    toys: Workspace, control: Control, emulator: Connection, form: dict[str, Any], what: str
) -> None:
    route = "/computes/{name}" if what == "cluster" else "/onlineendpoints/{endpoint}"
    control.add_fault(method="PUT", route=route, action="status", status=403, error=form)
    model = get_foundation_model(toys, toy.MODEL)
    makers = {
        "cluster": partial(ensure_compute, toys, CLUSTER, model),
        "endpoint": partial(ensure_endpoint, toys, ENDPOINT),
    }
    with Requests(emulator) as requests, pytest.raises((ComputeFailed, EndpointFailed)) as refused:
        makers[what]()
    message = str(refused.value)
    for part in (
        "RequestDisallowedByPolicy",
        "(policy 'only-small-machines', an assignment of 'Allowed machine sizes')",
        "make an exemption",
    ):
        assert part in message
    assert "quota" not in message
    assert len([line for line in requests.writes if line.startswith("PUT")]) == 1


@pytest.fixture
def locked(toys: Workspace, control: Control) -> Iterator[Control]:
    """An endpoint and a cluster exist, and the resource group has a lock."""
    ensure_endpoint(toys, ENDPOINT)
    ensure_compute(toys, CLUSTER, get_foundation_model(toys, toy.MODEL))
    control.set_locks(**{"keep-it": "CanNotDelete"})
    yield control
    control.set_locks()
    delete_endpoint(toys, "refused")
    delete_compute(toys, CLUSTER.name)


def test_a_lock_is_named_at_once(locked: Control, toys: Workspace, emulator: Connection) -> None:
    for delete, name in ((delete_endpoint, "refused"), (delete_compute, CLUSTER.name)):
        with Requests(emulator) as requests, pytest.raises((EndpointFailed, ComputeFailed)) as refused:
            delete(toys, name)
        message = str(refused.value)
        for part in (
            "ScopeLocked",
            "Lock keep-it (CanNotDelete) on /subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/",
            "forbids it",
            "az lock delete",
        ):
            assert part in message
        assert len([line for line in requests.writes if line.startswith("DELETE")]) == 1


NOT_FOUND = {
    "code": "NotFound",
    "message": "The specified resource was not found.",
    "details": [{"code": "InferencingClientCallFailed", "message": '{"title":"Not Found"}', "details": []}],
}
BAD_REQUEST = {
    "code": "BadRequest",
    "message": "The request is invalid.",
    "details": [
        {
            "code": "InferencingClientCallFailed",
            "message": '{"errors":{"":["There is already an endpoint with this name, Endpoint name needs to be unique '
            'within a region. Try some other name."]}}',
            "details": [],
        }
    ],
}


@pytest.mark.parametrize(("status", "error"), [(404, NOT_FOUND), (400, BAD_REQUEST)], ids=["404", "400"])
def test_a_name_that_was_deleted_a_moment_ago_is_waited_for(
    toys: Workspace, control: Control, status: int, error: dict[str, Any]
) -> None:
    section = ENDPOINT.model_copy(update={"endpoint": f"held-{status}"})
    lines: list[str] = []
    control.add_fault(
        method="PUT", route="/onlineendpoints/{endpoint}", action="status", status=status, error=error, count=2
    )
    made = ensure_endpoint(toys, section, log=lines.append)
    assert made.action == "created"
    assert sum("trying again in" in line for line in lines) == 2
    delete_endpoint(toys, made.name)


def test_a_name_that_is_not_released_ends_with_what_that_means(
    toys: Workspace, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "_NAME_RELEASE_SECONDS", 1.0)
    control.add_fault(method="PUT", route="/onlineendpoints/{endpoint}", action="status", status=400, error=BAD_REQUEST)
    with pytest.raises(EndpointFailed, match=r"released within 1 s of a deletion.*`serving\.endpoint` sets another"):
        ensure_endpoint(toys, ENDPOINT)


def test_a_cluster_without_nodes_to_be_had_says_why(toys: Workspace, control: Control) -> None:
    control.add_scenario(
        "compute",
        scenario="allocation_failed",
        match=CLUSTER.name,
        code="AllocationFailed",
        message="Allocation failed. We do not have sufficient capacity for the requested VM size in this region.",
    )
    with pytest.raises(ComputeFailed) as failed:
        ensure_compute(toys, CLUSTER, get_foundation_model(toys, toy.MODEL))
    for part in (
        "AllocationFailed",
        "sufficient capacity",
        "has no such machine free at the moment, whatever the quota",
    ):
        assert part in str(failed.value)
