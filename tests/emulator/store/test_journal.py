"""The journal: one entry a request, in the words of the routes."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.emulator.server.middleware import RequestFrame
from phi_assets.emulator.store.journal import KEPT_ENTRIES, Journal
from phi_assets.emulator.wire.planes import RouteNames
from phi_assets.emulator.wire.route_table import RouteTable
from tests.emulator.http import arm_client, raw_client, workspace_path
from tests.emulator_requests import Requests


@pytest.fixture
def client(emulator: Connection) -> Iterator[httpx.Client]:
    with arm_client(emulator) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "plane", "route"),
    [
        ("GET", "{workspace}", "arm", "/"),
        ("PUT", "{workspace}/jobs/some", "arm", "/jobs/{name}"),
        ("POST", "{workspace}/jobs/some/cancel", "arm", "/jobs/{name}/cancel"),
        ("GET", "{WORKSPACE}/onlineEndpoints/some", "arm", "/onlineendpoints/{endpoint}"),
        (
            "GET",
            "{workspace}/onlineEndpoints/some/deployments/blue",
            "arm",
            "/onlineendpoints/{endpoint}/deployments/{name}",
        ),
        ("GET", "{workspace}/data/some/versions/1", "arm", "/data/{name}/versions/{version}"),
        ("GET", "{workspace}/models/some/versions", "arm", "/models/{name}/versions"),
        ("GET", "{location}/vmSizes", "arm", "/vmsizes"),
        ("GET", "{location}/mfeOperationsStatus/oe:1", "arm", "/mfeoperationsstatus/{operation}"),
        ("GET", "/history/v1.0{workspace}/runs/some/details", "history", "/runs/{run}/details"),
        ("POST", "/history/v1.0{workspace}/rundata", "history", "/rundata"),
        ("GET", "/mlflow/v1.0{workspace}/api/2.0/mlflow/runs/get?run_id=x", "mlflow", "/runs/get"),
        ("GET", "/registrymanagement/v1.0/registries/azureml/discovery", "registry", "/discovery"),
        ("GET", "{registry}/models/some/versions/1", "registry", "/models/{name}/versions/{version}"),
        ("GET", "{registry}/components/some/versions", "registry", "/components/{name}/versions"),
        ("PUT", "/phistorage.blob.local.emu/azureml/a/b/c?sig=secret", "blob", "/{container}/{name}"),
        ("POST", "/endpoints/some/score", "scoring", "/endpoints/{endpoint}/score"),
        ("GET", "/msi/token", "discovery", "/msi/token"),
        ("GET", "/nowhere/at/all", "discovery", "(no route)"),
        ("PATCH", "{workspace}/jobs", "arm", "/jobs"),
    ],
)
def test_every_request_has_an_entry_with_its_route_and_plane(
    emulator: Connection, control: Control, method: str, path: str, plane: str, route: str
):
    provider = "/providers/Microsoft.MachineLearningServices"
    subscription = f"/subscriptions/{emulator.subscription_id}"
    url = path.format(
        workspace=workspace_path(emulator),
        WORKSPACE=workspace_path(emulator).upper(),
        location=f"{subscription}{provider}/locations/emulator",
        registry=f"/mferp/managementfrontend{subscription}/resourceGroups/{emulator.resource_group}{provider}"
        "/registries/azureml",
    )
    since = control.last_entry()
    with raw_client(emulator) as client:
        answer = client.request(method, url)
    (entry,) = control.journal(since)
    assert (entry.method, entry.path, entry.status) == (method, url.partition("?")[0], answer.status_code)
    assert (entry.plane, entry.route, entry.fault) == (plane, route, None)
    assert entry.milliseconds > 0


def test_counts_are_of_what_came_after(control: Control, client: httpx.Client):
    client.get("/computes")
    since = control.last_entry()
    for _ in range(3):
        client.get("/computes")
    client.get("/jobs/absent")
    assert control.counts(since) == {"GET /computes": 3, "GET /jobs/{name}": 1}
    assert [entry.status for entry in control.journal(since)] == [200, 200, 200, 404]
    assert control.journal(control.last_entry()) == []


def test_the_oldest_entries_make_room():
    journal = Journal()
    for number in range(KEPT_ENTRIES + 5):
        journal.add(
            method="GET", route=f"/{number % 2}", path="", status=200, plane="arm", fault=None, milliseconds=0.1
        )
    entries = journal.since(0)
    assert (len(entries), entries[0].number, entries[-1].number) == (KEPT_ENTRIES, 6, KEPT_ENTRIES + 5)
    assert journal.counts(KEPT_ENTRIES) == {"GET /0": 3, "GET /1": 2}


def test_a_defect_of_the_emulator_is_noted_as_the_500_that_it_becomes():
    journal = Journal()

    async def defect(*_: Any) -> Any:
        raise RuntimeError("a defect")

    app: Any = SimpleNamespace(state=SimpleNamespace(emulator=SimpleNamespace(journal=journal, location="here")))
    scope = {"type": "http", "method": "GET", "path": "/some", "headers": [], "app": app}
    with pytest.raises(RuntimeError, match="a defect"):
        asyncio.run(RequestFrame(defect, RouteNames(RouteTable([])))(scope, defect, defect))
    assert [entry.status for entry in journal.since(0)] == [500]


def test_a_block_of_a_test_knows_its_requests_and_which_may_have_changed_something(
    emulator: Connection, client: httpx.Client
):
    client.get("/computes")
    with Requests(emulator) as requests:
        client.get("/jobs/absent")
        client.post("/datastores/workspaceblobstore/listSecrets", json={})
        client.delete("/computes/absent")
    path = workspace_path(emulator)
    assert requests.lines == [
        f"GET {path}/jobs/absent",
        f"POST {path}/datastores/workspaceblobstore/listSecrets",
        f"DELETE {path}/computes/absent",
    ]
    assert requests.writes == [f"DELETE {path}/computes/absent"]


def test_the_access_log_has_every_request_too(emulator: Connection, client: httpx.Client):
    client.get("/computes/in-the-access-log")
    assert f"GET {workspace_path(emulator)}/computes/in-the-access-log 404" in (
        emulator.directory / "access.log"
    ).read_text(encoding="utf-8")
