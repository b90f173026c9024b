"""Faults: which requests meet them, what becomes of those, and what their clients see."""

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from phi_assets.emulator.control import Control, ControlError
from phi_assets.emulator.process import Connection
from tests.emulator.http import arm_client, datastore_sas, raw_client

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

CLUSTER = {
    "location": "emulator",
    "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC24ads_A100_v4"}},
}


@pytest.fixture
def client(emulator: Connection) -> Iterator[httpx.Client]:
    with arm_client(emulator) as client:
        yield client


@pytest.fixture
def name() -> str:
    return f"fault-{uuid.uuid4().hex[:8]}x"


def statuses(client: httpx.Client, times: int) -> list[int]:
    """What so many requests in a row are answered; 0 for a dropped connection."""
    found = []
    for _ in range(times):
        try:
            found.append(client.get("/computes").status_code)
        except httpx.RemoteProtocolError:
            found.append(0)
    return found


@pytest.mark.parametrize(("status", "code"), [(404, "NotFound"), (499, "UnknownError")])
def test_a_status_without_a_code_has_that_of_its_phrase(control: Control, client: httpx.Client, status: int, code: str):
    control.add_fault(action="status", status=status)
    answer = client.get("/computes")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


class TestMatching:
    def test_a_fault_without_conditions_is_for_every_request(self, control: Control, client: httpx.Client):
        fault = control.add_fault(action="status", status=503)
        assert statuses(client, 3) == [503, 503, 503]
        assert client.get("/jobs/absent").status_code == 503
        assert (control.fault(fault).matched, control.fault(fault).applied) == (4, 4)

    @pytest.mark.parametrize(
        "condition",
        [
            {"method": "PUT"},
            {"route": "/computes/{name}"},
            {"route": "/compute"},
            {"path": "/computes/x$"},
            {"plane": "history"},
            {"method": "get", "route": "/jobs/*"},
        ],
    )
    def test_other_requests_go_free(self, control: Control, client: httpx.Client, condition: dict[str, str]):
        fault = control.add_fault(action="status", status=503, **condition)
        assert statuses(client, 2) == [200, 200]
        assert control.fault(fault).matched == 0

    @pytest.mark.parametrize(
        "condition",
        [
            {"method": "get"},
            {"route": "/computes"},
            {"route": "*"},
            {"route": "/comp*"},
            {"path": "/phi-workspace/computes$"},
            {"plane": "arm"},
            {"method": "GET", "route": "/Computes", "path": "computes", "plane": "arm"},
        ],
    )
    def test_one_that_fits_every_condition_does_not(
        self, control: Control, client: httpx.Client, condition: dict[str, str]
    ):
        control.add_fault(action="status", status=503, **condition)
        assert statuses(client, 1) == [503]

    def test_names_of_parameters_do_not_matter(self, control: Control, client: httpx.Client):
        control.add_fault(action="status", status=503, route="/jobs/{whatever}")
        assert client.get("/jobs/absent").status_code == 503
        assert client.get("/jobs").status_code == 200

    def test_skip_every_and_count(self, control: Control, client: httpx.Client):
        fault = control.add_fault(action="status", status=500, skip=1, every=3, count=2)
        assert statuses(client, 12) == [200, 200, 200, 500, 200, 200, 500, 200, 200, 200, 200, 200]
        assert (control.fault(fault).matched, control.fault(fault).applied) == (12, 2)

    def test_a_cycle_takes_turns(self, control: Control, client: httpx.Client):
        control.add_fault(
            every=2,
            cycle=[{"action": "status", "status": 429}, {"action": "status", "status": 500}, {"action": "drop"}],
        )
        assert statuses(client, 8) == [200, 429, 200, 500, 200, 0, 200, 429]

    def test_a_request_meets_the_oldest_of_several_faults(self, control: Control, client: httpx.Client):
        first = control.add_fault(action="status", status=500, count=1)
        second = control.add_fault(action="status", status=503, count=1)
        assert statuses(client, 3) == [500, 503, 200]
        assert (control.fault(first).applied, control.fault(second).applied) == (1, 1)

    def test_cleared_faults_happen_no_more(self, control: Control, client: httpx.Client):
        fault = control.add_fault(action="status", status=500)
        assert statuses(client, 1) == [500]
        control.clear_faults()
        assert statuses(client, 1) == [200]
        with pytest.raises(ControlError, match=f"Fault '{fault}' was not found"):
            control.fault(fault)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({}, "actions.0: Unable to extract tag using discriminator 'action'"),
            ({"action": "explode"}, "does not match any of the expected tags"),
            ({"action": "status"}, r"status.status: Field required"),
            ({"action": "status", "status": 200}, "greater than or equal to 400"),
            ({"action": "drop", "seconds": 1}, r"drop.seconds: Extra inputs"),
            ({"action": "delay"}, r"delay.seconds: Field required"),
            ({"action": "drop", "when": "meanwhile"}, "'before' or 'after'"),
            ({"action": "drop", "plane": "moon"}, "plane: Input should be 'arm'"),
            ({"action": "drop", "path": "("}, "path: Input should be a valid regular expression"),
            ({"action": "drop", "times": 3}, "times: Extra inputs"),
            ({"action": "drop", "every": 0}, "every: Input should be greater than or equal to 1"),
            ({"cycle": []}, "at least 1 item"),
            ({"cycle": ["drop"]}, "actions.0"),
            ({"cycle": "drop"}, "actions: Input should be a valid tuple"),
        ],
    )
    def test_a_fault_that_makes_no_sense_is_refused(self, control: Control, fields: dict[str, Any], message: str):
        with pytest.raises(ControlError, match=message):
            control.add_fault(**fields)


class TestStatus:
    def test_the_answer_is_an_error_of_the_service(self, control: Control, client: httpx.Client):
        fault = control.add_fault(action="status", status=429, retry_after=7, plane="arm")
        since = control.last_entry()
        answer = client.get("/computes")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        assert answer.json()["error"]["code"] == "TooManyRequests"
        assert answer.headers["x-ms-request-id"]
        (entry,) = control.journal(since)
        assert (entry.status, entry.fault) == (429, fault)

    def test_before_means_that_the_request_is_not_processed(self, control: Control, client: httpx.Client, name: str):
        control.add_fault(action="status", status=500, method="PUT", code="Oops")
        answer = client.put(f"/computes/{name}", json=CLUSTER)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "Oops")
        assert client.get(f"/computes/{name}").status_code == 404

    def test_after_means_that_it_was(self, control: Control, client: httpx.Client, name: str):
        control.add_fault(action="status", status=500, method="PUT", when="after")
        assert client.put(f"/computes/{name}", json=CLUSTER).status_code == 500
        assert client.get(f"/computes/{name}").status_code == 200

    def test_the_blob_plane_names_its_code_in_a_header(self, emulator: Connection, control: Control):
        url, query = datastore_sas(emulator)
        control.add_fault(action="status", status=503, plane="blob", code="ServerBusy")
        with raw_client(emulator) as client:
            answer = client.get(f"{url}/some?{query}")
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (503, "ServerBusy")

    def test_the_sdk_asks_again_until_it_is_answered(self, control: Control, workspace: "Workspace"):
        cycle = [{"action": "status", "status": status, "retry_after": 0} for status in (429, 500, 503)]
        fault = control.add_fault(cycle=cycle, method="GET", route="/computes", count=3)
        since = control.last_entry()
        assert all(compute.name for compute in workspace.ml.compute.list())
        assert control.fault(fault).applied == 3
        asked = [entry.status for entry in control.journal(since) if entry.route == "/computes"]
        assert asked == [429, 500, 503, 200]

    def test_the_sdk_gives_up_when_it_goes_on_for_too_long(self, control: Control, workspace: "Workspace"):
        from azure.core.exceptions import HttpResponseError

        control.add_fault(action="status", status=429, retry_after=0, method="GET", route="/computes/{name}")
        since = control.last_entry()
        with pytest.raises(HttpResponseError) as caught:
            workspace.ml.compute.get("absent")
        assert caught.value.status_code == 429
        assert control.counts(since)["GET /computes/{name}"] > 1


class TestDrop:
    def test_before_means_that_the_request_is_not_processed(self, control: Control, client: httpx.Client, name: str):
        since = control.last_entry()
        fault = control.add_fault(action="drop", method="PUT", count=1)
        with pytest.raises(httpx.RemoteProtocolError, match="disconnected without sending a response"):
            client.put(f"/computes/{name}", json=CLUSTER)
        assert client.get(f"/computes/{name}").status_code == 404
        assert [(entry.status, entry.fault) for entry in control.journal(since)] == [(0, fault), (404, None)]

    def test_after_means_that_it_was(self, control: Control, client: httpx.Client, name: str):
        control.add_fault(action="drop", method="PUT", when="after", count=1)
        with pytest.raises(httpx.RemoteProtocolError, match="disconnected without sending a response"):
            client.put(f"/computes/{name}", json=CLUSTER)
        assert client.get(f"/computes/{name}").status_code == 200

    def test_the_server_goes_on_without_a_word_of_a_defect(
        self, emulator: Connection, control: Control, client: httpx.Client
    ):
        log = emulator.directory / "server.log"
        before = log.read_text(encoding="utf-8")
        control.add_fault(action="drop", cycle=[{}, {"when": "after"}])
        assert statuses(client, 6) == [0] * 6
        control.clear_faults()
        assert statuses(client, 1) == [200]
        assert log.read_text(encoding="utf-8") == before

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_large_upload_can_be_dropped(self, emulator: Connection, control: Control, name: str, when: str):
        url, query = datastore_sas(emulator)
        control.add_fault(action="drop", method="PUT", plane="blob", when=when, count=1)
        with raw_client(emulator) as client:
            with pytest.raises(httpx.TransportError):
                client.put(f"{url}/{name}?{query}", content=bytes(8 << 20), headers={"x-ms-blob-type": "BlockBlob"})
            assert client.head(f"{url}/{name}?{query}").status_code == {"before": 404, "after": 200}[when]

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_the_sdk_takes_it_for_a_lost_connection_and_asks_again(
        self, control: Control, workspace: "Workspace", when: str
    ):
        fault = control.add_fault(action="drop", when=when, method="GET", route="/computes", count=2)
        assert all(compute.name for compute in workspace.ml.compute.list())
        assert (control.fault(fault).matched, control.fault(fault).applied) == (3, 2)

    def test_a_lost_answer_makes_the_sdk_create_twice_what_is_there_once(
        self, control: Control, workspace: "Workspace", name: str
    ):
        from azure.ai.ml.entities import Data

        uri = "azureml://datastores/workspaceblobstore/paths/some/file.txt"
        control.add_fault(action="drop", when="after", method="PUT", route="/data/{name}/versions/{version}", count=1)
        since = control.last_entry()
        created = workspace.ml.data.create_or_update(Data(name=name, version="1", path=uri, type="uri_file"))
        assert control.counts(since)["PUT /data/{name}/versions/{version}"] == 2
        assert [asset.version for asset in workspace.ml.data.list(name)] == [created.version]
