"""What the service itself may be like: its clock, its locks, the kind of the workspace, and words of its refusals."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from phi_assets.emulator.control import Control, ControlError
from phi_assets.emulator.process import Connection
from tests.emulator.http import arm_client

CLUSTER = {
    "location": "emulator",
    "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC24ads_A100_v4"}},
}
NAME = "circumstances"


@pytest.fixture
def client(emulator: Connection) -> Iterator[httpx.Client]:
    with arm_client(emulator) as client:
        client.params = {"api-version": "2025-12-01"}
        yield client


def told(answer: httpx.Response) -> datetime:
    (header,) = answer.headers.get_list("Date")
    return parsedate_to_datetime(header)


@pytest.mark.parametrize("hours", [-2, 0, 2])
def test_every_answer_has_one_date_of_the_services_clock(
    control: Control, client: httpx.Client, emulator: Connection, hours: int
) -> None:
    control.set_clock(hours * 3600)
    for answer in (client.get("/computes"), client.get("/jobs/none"), client.get(emulator.base_url + "/discovery")):
        assert abs(told(answer) - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(seconds=10)


def test_what_is_made_has_the_services_time(control: Control, client: httpx.Client) -> None:
    control.set_clock(-7200)
    try:
        made = client.put(f"/computes/{NAME}", json=CLUSTER)
        created = datetime.fromisoformat(made.json()["properties"]["createdOn"])
        assert abs(created - told(made)) < timedelta(seconds=10)
    finally:
        client.delete(f"/computes/{NAME}")


def test_a_clock_cannot_be_set_to_nonsense(control: Control) -> None:
    with pytest.raises(ControlError, match="ahead"):
        control.set_clock(1e300)


def test_a_lock_forbids_deletions_and_tells_its_scope_only(control: Control, client: httpx.Client) -> None:
    control.set_locks(**{"keep-it": "CanNotDelete"})
    answer = client.delete("/computes/none")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ScopeLocked")
    message = answer.json()["error"]["message"]
    assert "cannot perform delete operation" in message
    assert "/resourceGroups/phi-emulator'" in message
    assert "keep-it" not in message
    assert client.get("/computes/none").status_code == 404
    (lock,) = client.get("/providers/Microsoft.Authorization/locks").json()["value"]
    assert (lock["name"], lock["properties"]["level"]) == ("keep-it", "CanNotDelete")
    control.set_locks()
    assert client.delete("/computes/none").status_code == 404
    assert client.get("/providers/Microsoft.Authorization/locks").json() == {"value": []}


def test_a_lock_against_changes_forbids_writes_too(control: Control, client: httpx.Client) -> None:
    control.set_locks(frozen="ReadOnly")
    answer = client.put(f"/computes/{NAME}", json=CLUSTER)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ScopeLocked")
    assert client.get("/computes").status_code == 200


def test_a_workspace_may_be_of_another_kind(control: Control, client: httpx.Client) -> None:
    assert client.get(str(client.base_url).rstrip("/")).json()["kind"] == "Default"
    control.set_workspace_kind("Hub")
    assert client.get(str(client.base_url).rstrip("/")).json()["kind"] == "Hub"


def test_a_registry_is_a_resource_of_the_group(client: httpx.Client, emulator: Connection) -> None:
    base = str(client.base_url).rstrip("/").rpartition("/workspaces/")[0]
    assert client.get(f"{base}/registries/azureml").json()["name"] == "azureml"
    assert client.get(f"{base}/registries/none").status_code == 404


def test_a_refusal_can_have_the_services_own_words(control: Control, client: httpx.Client) -> None:
    error = {"code": "RequestDisallowedByPolicy", "message": "No.", "additionalInfo": [{"type": "PolicyViolation"}]}
    control.add_fault(action="status", status=403, error=error, count=1)
    answer = client.get("/computes")
    assert (answer.status_code, answer.json()) == (403, {"error": error})


@pytest.mark.parametrize("undo", [Control.reset, Control.restore])
def test_everything_is_made_as_it_was(control: Control, client: httpx.Client, undo: Callable[[Control], None]) -> None:
    control.set_clock(7200)
    control.set_locks(frozen="ReadOnly")
    control.set_workspace_kind("Hub")
    undo(control)
    assert abs(told(client.get("/computes")) - datetime.now(UTC)) < timedelta(seconds=10)
    assert client.get(str(client.base_url).rstrip("/")).json()["kind"] == "Default"
    assert client.delete("/computes/none").status_code == 404
