"""The control plane has a token of its own, which opens nothing else, and is off the record."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from phi_assets.emulator.control import Control, ControlError
from phi_assets.emulator.process import CONTROL_KEY_FILE, Connection
from phi_assets.emulator.routes import control as control_routes
from phi_assets.emulator.routes import scenarios
from phi_assets.emulator.security.auth import STORAGE_AUDIENCE, Auth
from tests.emulator.http import raw_client, token, workspace_path

CONTROL_REQUESTS = [
    (method, route.path.replace("{fault}", "fault-1").replace("{scenario}", "x"))
    for route in [*control_routes.routes, *scenarios.routes]
    for method in sorted((route.methods or set()) - {"HEAD"})
]


@pytest.fixture
def client(emulator: Connection) -> Iterator[httpx.Client]:
    with raw_client(emulator) as client:
        yield client


def control_token(emulator: Connection) -> str:
    return (emulator.directory / CONTROL_KEY_FILE).read_text(encoding="ascii")


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_the_token_lies_in_a_file_of_its_owner_and_stays_the_same(tmp_path: Path):
    auth = Auth(tmp_path, "https://127.0.0.1:1")
    file = tmp_path / CONTROL_KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text(encoding="ascii") == auth.control_token
    assert len(bytes.fromhex(auth.control_token)) == 32
    assert Auth(tmp_path, "https://127.0.0.1:1").control_token == auth.control_token


@pytest.mark.parametrize(("method", "path"), CONTROL_REQUESTS)
def test_no_other_token_opens_the_control_plane(emulator: Connection, client: httpx.Client, method: str, path: str):
    for headers in (
        {},
        bearer(token(emulator)),
        bearer(token(emulator, STORAGE_AUDIENCE)),
        bearer(control_token(emulator)[:-1]),
        {"Authorization": f"Basic {control_token(emulator)}"},
    ):
        answer = client.request(method, path, headers=headers, content=json.dumps({}))
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] in {"AuthenticationFailed", "InvalidAuthenticationToken"}


@pytest.mark.parametrize(
    "path",
    [
        "{workspace}",
        "{workspace}/computes",
        "{workspace}/jobs",
        "{workspace}/onlineEndpoints",
        "/history/v1.0{workspace}/runs/some",
        "/mlflow/v1.0{workspace}/api/2.0/mlflow/runs/get?run_id=some",
        "/registrymanagement/v1.0/registries/azureml/discovery",
        "/phistorage.blob.local.emu/azureml/some",
    ],
)
def test_the_control_token_opens_no_other_plane(emulator: Connection, client: httpx.Client, path: str):
    url = path.format(workspace=workspace_path(emulator))
    right = token(emulator, STORAGE_AUDIENCE if ".blob." in path else None)
    assert client.get(url, headers=bearer(right)).status_code != 401
    assert client.get(url, headers=bearer(control_token(emulator))).status_code == 401


def test_the_control_token_is_no_identity_header(emulator: Connection, client: httpx.Client):
    answer = client.get(
        "/msi/token", params={"resource": emulator.base_url}, headers={"X-IDENTITY-HEADER": control_token(emulator)}
    )
    assert answer.status_code == 401


def test_the_control_plane_and_the_health_check_meet_no_fault_and_are_not_in_the_journal(
    control: Control, client: httpx.Client
):
    since = control.last_entry()
    fault = control.add_fault(action="drop")
    assert client.get("/healthz").status_code == 200
    assert control.fault(fault).matched == 0
    with pytest.raises(httpx.TransportError):
        client.get("/metadata/endpoints")
    assert [entry.path for entry in control.journal(since)] == ["/metadata/endpoints"]


def test_what_is_not_understood_is_refused_by_name(control: Control):
    with pytest.raises(ControlError, match=r"scale: Input should be greater than 0"):
        control.set_time_scale(0)
    with pytest.raises(ControlError, match=r"buckets\.reads\.size: Input should be greater than or equal to 1"):
        control.set_throttling(True, reads=(0, 1))
    with pytest.raises(ControlError, match=r"buckets\.lists: Extra inputs"):
        control.set_throttling(True, lists=(1, 1))
    with pytest.raises(ControlError, match="Fault 'fault-0' was not found"):
        control.release("fault-0")
