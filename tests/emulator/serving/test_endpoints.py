"""Online endpoints through the SDK: their life, their keys, their names and their traffic."""

import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.emulator.serving.conftest import deploy, is_succeeded, ml, set_traffic, until
from tests.emulator.serving.echo import ask

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace


def arm(workspace: "Workspace", method: str, path: str, body: Any = None) -> httpx.Response:
    """A request that the SDK would not send, to the workspace's online endpoints."""
    url = f"{workspace.resource_manager}{workspace.path}/onlineEndpoints{path}?api-version=2025-12-01"
    return workspace.http.request(method, url, json=body, headers={"Authorization": f"Bearer {workspace.bearer()}"})


def new_endpoint(**settings: Any) -> Any:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    wanted: dict[str, Any] = {"auth_mode": "key"} | settings
    return ManagedOnlineEndpoint(name=f"test-{uuid.uuid4().hex[:8]}", **wanted)


def test_an_endpoint_is_created_read_updated_listed_and_deleted(workspace: "Workspace") -> None:
    endpoints = ml(workspace).online_endpoints
    wanted = new_endpoint(description="first", tags={"owner": "me"})
    created = endpoints.begin_create_or_update(wanted).result()
    assert created.provisioning_state == "Succeeded"
    assert created.auth_mode == "key"
    assert created.scoring_uri == f"{workspace.resource_manager}/endpoints/{wanted.name}/score"
    assert str(created.openapi_uri).endswith(f"/endpoints/{wanted.name}/swagger.json")
    assert created.identity.type == "system_assigned"
    assert created.traffic == {}
    assert {"createdAt", "createdBy", "lastModifiedAt"} <= created.properties.keys()

    created.tags["expires_at"] = "tomorrow"
    created.description = "second"
    updated = endpoints.begin_create_or_update(created).result()
    assert (updated.description, updated.tags) == ("second", {"owner": "me", "expires_at": "tomorrow"})
    assert wanted.name in [found.name for found in endpoints.list()]
    assert endpoints.get(wanted.name.upper()).name == wanted.name

    endpoints.begin_delete(wanted.name).wait()
    assert arm(workspace, "GET", f"/{wanted.name}").status_code == 404
    assert arm(workspace, "DELETE", f"/{wanted.name}").status_code == 204


def test_a_missing_endpoint_is_not_found(workspace: "Workspace") -> None:
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError, match="Online endpoint 'nothing-here' was not found"):
        ml(workspace).online_endpoints.get("nothing-here")


@pytest.mark.parametrize("name", ["ab--c", "no_underscore", "1abc", "ab", "a" * 33])
def test_names_are_checked_by_the_service_too(workspace: "Workspace", name: str) -> None:
    answer = arm(workspace, "PUT", f"/{name}", {"location": "emulator", "properties": {"authMode": "Key"}})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "UserError"
    assert f"'{name}' is not a valid endpoint name" in error["message"]


def test_a_body_without_sense_is_refused(workspace: "Workspace") -> None:
    assert arm(workspace, "PUT", "/sensible", []).status_code == 400
    assert arm(workspace, "PUT", "/sensible", {"properties": {"authMode": "Password"}}).status_code == 400
    assert arm(workspace, "GET", "/sensible").status_code == 404


def test_tags_can_be_patched(workspace: "Workspace", endpoint: str) -> None:
    assert arm(workspace, "PATCH", f"/{endpoint}", {"tags": {"a": "b"}}).status_code == 202
    assert arm(workspace, "PATCH", "/nothing-here", {"tags": {}}).status_code == 404
    found = until(lambda: ml(workspace).online_endpoints.get(endpoint), is_succeeded)
    assert found.tags == {"a": "b"}


def test_keys_are_random_kept_and_replaced_one_by_one(workspace: "Workspace", endpoint: str) -> None:
    endpoints = ml(workspace).online_endpoints
    keys = endpoints.get_keys(endpoint)
    assert keys.primary_key != keys.secondary_key
    assert len(keys.primary_key) >= 32
    endpoints.begin_regenerate_keys(endpoint, key_type="primary").wait()
    fresh = endpoints.get_keys(endpoint)
    assert fresh.primary_key not in (keys.primary_key, keys.secondary_key)
    assert fresh.secondary_key == keys.secondary_key
    assert arm(workspace, "POST", f"/{endpoint}/regenerateKeys", {"keyType": "Third"}).status_code == 400


def test_traffic_goes_only_where_it_can(workspace: "Workspace", endpoint: str, echo: str) -> None:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match=r"'blue', which does not exist in this endpoint \(existing: none\)"):
        set_traffic(workspace, endpoint, blue=100)
    deploy(workspace, endpoint, echo)
    with pytest.raises(HttpResponseError, match="must sum up to 0 or 100"):
        set_traffic(workspace, endpoint, blue=60)
    assert set_traffic(workspace, endpoint, BLUE=100).traffic == {"blue": 100}
    with pytest.raises(HttpResponseError, match="receives 100 % of the traffic"):
        ml(workspace).online_deployments.begin_delete(name="blue", endpoint_name=endpoint).wait()
    set_traffic(workspace, endpoint)
    ml(workspace).online_deployments.begin_delete(name="blue", endpoint_name=endpoint).wait()
    assert list(ml(workspace).online_deployments.list(endpoint)) == []


@pytest.mark.parametrize("auth_mode", ["aml_token", "aad_token"])
def test_tokens_open_endpoints_of_their_mode_only(
    workspace: "Workspace", echo: str, endpoint: str, front: httpx.Client, auth_mode: str
) -> None:
    wanted = new_endpoint(auth_mode=auth_mode)
    ml(workspace).online_endpoints.begin_create_or_update(wanted).wait()
    try:
        token = ml(workspace).online_endpoints.get_keys(wanted.name).access_token
        uri = ml(workspace).online_endpoints.get(wanted.name).scoring_uri
        headers = {"Authorization": f"Bearer {token}"}
        opened = workspace.http.post(str(uri), json=ask("x"), headers=headers)
        assert (opened.status_code, opened.json()["error"]["code"]) == (404, "NoDeploymentWithTraffic")
        key = front.headers["Authorization"]
        assert workspace.http.post(str(uri), json=ask("x"), headers={"Authorization": key}).status_code == 401
        assert front.post("/score", json=ask("x"), headers=headers).status_code == 401
        management = {"Authorization": f"Bearer {workspace.bearer()}"}
        if auth_mode == "aml_token":
            assert workspace.http.post(str(uri), json=ask("x"), headers=management).status_code == 401
        assert arm(workspace, "POST", f"/{wanted.name}/listKeys").status_code == 400
    finally:
        ml(workspace).online_endpoints.begin_delete(wanted.name).wait()
