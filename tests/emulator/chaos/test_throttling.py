"""The limits of Azure Resource Manager: engaged, told in headers, recovered from."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.emulator.security.auth import Auth
from tests.emulator.http import arm_client, raw_client, workspace_path

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

READS, WRITES, DELETES = (f"x-ms-ratelimit-remaining-subscription-{kind}" for kind in ("reads", "writes", "deletes"))


@pytest.fixture
def client(emulator: Connection) -> Iterator[httpx.Client]:
    with arm_client(emulator) as client:
        yield client


def test_there_is_no_limit_until_it_is_switched_on(control: Control, client: httpx.Client):
    answers = [client.get("/computes") for _ in range(300)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].headers[READS] == answers[-1].headers[READS] == "250"
    control.set_throttling(True, reads=(1, 0.001))
    assert [client.get("/computes").status_code for _ in range(2)] == [200, 429]
    control.set_throttling(False)
    assert client.get("/computes").status_code == 200


def test_the_default_limits_are_those_of_the_service(control: Control, client: httpx.Client):
    control.set_throttling(True)
    assert client.get("/computes").headers[READS] == "249"
    assert client.put("/computes/-", json={}).headers[WRITES] == "199"
    assert client.post("/jobs/absent/cancel").headers[WRITES] in {"198", "199"}
    deployment = client.put("/onlineEndpoints/absent/deployments/none", json={})
    assert "x-ms-ratelimit-remaining-subscription-resource-requests" in deployment.headers
    assert WRITES not in deployment.headers
    assert client.delete("/computes/absent").headers[DELETES] == "199"


def test_whoever_has_no_token_left_is_told_for_how_long(control: Control, client: httpx.Client):
    control.set_throttling(True, reads=(3, 0.01))
    since = control.last_entry()
    answers = [client.get("/computes/absent") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
    assert [answer.headers[READS] for answer in answers] == ["2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.json()["error"]["code"] == "SubscriptionRequestsThrottled"
    assert 90 <= int(refused.headers["retry-after"]) <= 100
    assert [entry.status for entry in control.journal(since)] == [404, 404, 404, 429]


def test_after_the_named_time_there_is_a_token_however_often_one_asked_before(control: Control, client: httpx.Client):
    control.set_throttling(True, reads=(1, 0.2))
    assert client.get("/computes").status_code == 200
    refused = client.get("/computes")
    told = time.monotonic()
    seconds = int(refused.headers["retry-after"])
    assert 1 <= seconds <= 5
    assert [client.get("/computes").status_code for _ in range(3)] == [429] * 3
    time.sleep(max(told + seconds - time.monotonic(), 0))
    assert client.get("/computes").status_code == 200


def test_a_refused_request_is_not_processed(control: Control, client: httpx.Client):
    control.set_throttling(True, writes=(1, 0.001))
    assert client.post("/datastores/workspaceblobstore/listSecrets", json={}).status_code == 200
    body = {
        "location": "emulator",
        "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC24ads_A100_v4"}},
    }
    assert client.put("/computes/throttled", json=body).status_code == 429
    assert client.get("/computes/throttled").status_code == 404


def test_reads_writes_and_deletes_have_buckets_of_their_own(control: Control, client: httpx.Client):
    control.set_throttling(True, reads=(1, 0.001), writes=(1, 0.001), deletes=(1, 0.001))
    for method in ("GET", "PUT", "DELETE"):
        statuses = [client.request(method, "/computes/-", json={}).status_code for _ in range(2)]
        assert statuses[0] != 429
        assert statuses[1] == 429


def test_every_principal_has_buckets_of_its_own(emulator: Connection, control: Control, client: httpx.Client):
    somebody = Auth(emulator.directory, emulator.base_url).issue(emulator.base_url, object_id="somebody-else")
    control.set_throttling(True, reads=(1, 0.001))
    assert [client.get("/computes").status_code for _ in range(2)] == [200, 429]
    other = {"Authorization": f"Bearer {somebody}"}
    assert [client.get("/computes", headers=other).status_code for _ in range(2)] == [200, 429]


def test_a_bad_token_is_refused_at_nobodys_expense(emulator: Connection, control: Control, client: httpx.Client):
    control.set_throttling(True, reads=(1, 0.001))
    with raw_client(emulator) as stranger:
        for _ in range(3):
            assert stranger.get(workspace_path(emulator) + "/computes").status_code == 401
    assert client.get("/computes").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/history/v1.0{workspace}/runs/absent",
        "/mlflow/v1.0{workspace}/api/2.0/mlflow/runs/get?run_id=absent",
        "/registrymanagement/v1.0/registries/azureml/discovery",
        "/phistorage.blob.local.emu/azureml/absent",
        "/healthz",
    ],
)
def test_other_planes_have_no_limits(emulator: Connection, control: Control, client: httpx.Client, path: str):
    control.set_throttling(True, reads=(1, 0.001))
    headers = {"Authorization": client.headers["Authorization"]}
    with raw_client(emulator) as raw:
        for _ in range(3):
            answer = raw.get(path.format(workspace=workspace_path(emulator)), headers=headers)
            assert answer.status_code != 429
            assert READS not in answer.headers


def test_the_sdk_waits_as_long_as_it_is_told_and_goes_on(control: Control, workspace: "Workspace"):
    control.set_throttling(True, reads=(2, 0.25))
    since = control.last_entry()
    for _ in range(4):
        assert all(compute.name for compute in workspace.ml.compute.list())
    statuses = [entry.status for entry in control.journal(since) if entry.route == "/computes"]
    assert statuses.count(200) == 4
    assert 1 <= statuses.count(429) <= 2  # told once, the SDK is not early again
