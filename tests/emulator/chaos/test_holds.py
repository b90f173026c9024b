"""Requests that wait: delayed, or held until somebody releases them."""

import ssl
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.emulator.http import arm_client, datastore_sas, raw_client
from tests.emulator.jobs import until

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

CLUSTER = {
    "location": "emulator",
    "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC24ads_A100_v4"}},
}
LEAVES_AFTER_SECONDS = 0.5


@pytest.fixture
def client(emulator: Connection) -> Iterator[httpx.Client]:
    with arm_client(emulator) as client:
        yield client


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def name() -> str:
    return f"late-{uuid.uuid4().hex[:8]}x"


def met(control: Control, fault: str, since: int) -> bool:
    """Whether the journal has a request that met the fault: it is over then."""
    return any(entry.fault == fault for entry in control.journal(since))


class TestDelay:
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_the_request_takes_longer(self, control: Control, client: httpx.Client, when: str):
        control.add_fault(action="delay", seconds=0.3, when=when, count=1)
        since = control.last_entry()
        assert [client.get("/computes").status_code for _ in range(2)] == [200, 200]
        slow, quick = control.journal(since)
        assert slow.milliseconds >= 300
        assert (slow.fault is None, quick.fault is None) == (False, True)

    def test_a_client_that_does_not_wait_has_sent_its_request(self, control: Control, client: httpx.Client, name: str):
        fault = control.add_fault(action="delay", seconds=LEAVES_AFTER_SECONDS + 3, method="PUT")
        since = control.last_entry()
        with pytest.raises(httpx.ReadTimeout):
            client.put(f"/computes/{name}", json=CLUSTER, timeout=LEAVES_AFTER_SECONDS)
        assert client.get(f"/computes/{name}").status_code == 404
        until(lambda: met(control, fault, since), "the request to be processed")
        assert client.get(f"/computes/{name}").status_code == 200


class TestHold:
    def test_a_held_request_is_processed_at_the_release_and_others_are_not_held_up(
        self, control: Control, client: httpx.Client, pool: ThreadPoolExecutor, name: str
    ):
        fault = control.add_fault(action="hold", method="PUT", route="/computes/{name}", count=1)
        held = pool.submit(client.put, f"/computes/{name}", json=CLUSTER)
        control.wait_until_held(fault)
        assert control.fault(fault).holding == 1
        assert [client.get("/computes").status_code for _ in range(20)] == [200] * 20
        assert client.get(f"/computes/{name}").status_code == 404
        control.release(fault)
        assert held.result().status_code == 201
        assert control.fault(fault).holding == 0

    def test_held_after_it_was_processed_only_the_answer_is_late(
        self, control: Control, client: httpx.Client, pool: ThreadPoolExecutor, name: str
    ):
        fault = control.add_fault(action="hold", when="after", method="PUT", route="/computes/{name}")
        held = pool.submit(client.put, f"/computes/{name}", json=CLUSTER)
        control.wait_until_held(fault)
        assert client.get(f"/computes/{name}").status_code == 200
        assert not held.done()
        control.release(fault)
        assert held.result().status_code == 201

    def test_more_requests_than_there_are_threads_can_be_held(self, emulator: Connection, control: Control):
        fault = control.add_fault(action="hold", route="/computes")
        waiting = 120
        with arm_client(emulator) as client, ThreadPoolExecutor(waiting) as pool:
            crowd = [
                pool.submit(
                    httpx.get,
                    str(client.base_url) + "computes",
                    headers={"Authorization": client.headers["Authorization"]},
                    verify=ssl.create_default_context(cafile=str(emulator.ca_bundle)),
                    trust_env=False,
                    timeout=60,
                )
                for _ in range(waiting)
            ]
            until(lambda: control.fault(fault).holding == waiting, "all requests to be held")
            assert client.get("/jobs/absent").status_code == 404
            control.release(fault)
            assert {each.result().status_code for each in crowd} == {200}

    def test_after_the_release_no_other_request_is_held(
        self, control: Control, client: httpx.Client, pool: ThreadPoolExecutor
    ):
        fault = control.add_fault(action="hold", route="/computes")
        held = [pool.submit(client.get, "/computes") for _ in range(3)]
        until(lambda: control.fault(fault).holding == 3, "three requests to be held")
        control.release(fault)
        assert [each.result().status_code for each in held] == [200] * 3
        assert client.get("/computes").status_code == 200
        assert control.fault(fault).applied == 3

    def test_a_request_whose_client_is_gone_is_processed_at_the_release(
        self, emulator: Connection, control: Control, name: str
    ):
        url, query = datastore_sas(emulator)
        content = bytes(range(256)) * 20_000
        fault = control.add_fault(action="hold", method="PUT", plane="blob")
        with raw_client(emulator) as client:
            with pytest.raises(httpx.ReadTimeout):
                client.put(
                    f"{url}/{name}?{query}",
                    content=content,
                    headers={"x-ms-blob-type": "BlockBlob"},
                    timeout=httpx.Timeout(30, read=LEAVES_AFTER_SECONDS),
                )
            control.wait_until_held(fault)
            assert control.fault(fault).holding == 1
            assert client.get(f"{url}/{name}?{query}").status_code == 404
            since = control.last_entry()
            control.release(fault)
            until(lambda: met(control, fault, since), "the request to be processed")
            assert client.get(f"{url}/{name}?{query}").content == content

    @pytest.mark.parametrize(("when", "status"), [("before", 404), ("after", 200)])
    def test_what_is_held_can_be_dropped(
        self, control: Control, client: httpx.Client, pool: ThreadPoolExecutor, name: str, when: str, status: int
    ):
        fault = control.add_fault(action="hold", when=when, method="PUT", route="/computes/{name}")
        held = pool.submit(client.put, f"/computes/{name}", json=CLUSTER)
        control.wait_until_held(fault)
        control.release(fault, discard=True)
        with pytest.raises(httpx.RemoteProtocolError):
            held.result()
        assert client.get(f"/computes/{name}").status_code == status

    def test_clearing_the_faults_lets_everything_go_on(
        self, control: Control, client: httpx.Client, pool: ThreadPoolExecutor
    ):
        fault = control.add_fault(action="hold", route="/computes")
        held = pool.submit(client.get, "/computes")
        control.wait_until_held(fault)
        control.clear_faults()
        assert held.result().status_code == 200

    def test_waiting_for_a_request_that_does_not_come_ends(self, control: Control):
        fault = control.add_fault(action="hold", route="/computes")
        with pytest.raises(TimeoutError, match=r"held no request within 0\.2 s; it matched 0"):
            control.wait_until_held(fault, timeout=0.2)

    def test_a_call_of_the_sdk_is_stopped_at_a_chosen_point(self, control: Control, workspace: "Workspace", name: str):
        from azure.ai.ml.entities import Data

        uri = "azureml://datastores/workspaceblobstore/paths/some/file.txt"
        fault = control.add_fault(action="hold", when="after", method="PUT", route="/data/*/versions/*")
        asset = Data(name=name, version="1", path=uri, type="uri_file")
        thread = threading.Thread(target=workspace.ml.data.create_or_update, args=(asset,))
        thread.start()
        control.wait_until_held(fault)
        assert thread.is_alive()
        control.release(fault)
        thread.join()
        assert workspace.ml.data.get(name, version="1").name == name
