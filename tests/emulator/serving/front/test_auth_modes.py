"""The three ways to authenticate at an endpoint, with the SDK's own calls from the endpoint to the answer."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from tests.emulator.serving.conftest import deploy, ml, set_traffic, until
from tests.emulator.serving.echo import ask
from tests.emulator.serving.test_endpoints import new_endpoint

MODES = ["key", "aml_token", "aad_token"]


@pytest.fixture(params=MODES)
def answering(request: pytest.FixtureRequest, workspace: Any, echo: str) -> Iterator[Any]:
    """An endpoint of each mode with a deployment that has all traffic."""
    wanted = new_endpoint(auth_mode=request.param)
    ml(workspace).online_endpoints.begin_create_or_update(wanted).wait()
    deploy(workspace, wanted.name, echo)
    set_traffic(workspace, wanted.name, blue=100)
    yield ml(workspace).online_endpoints.get(wanted.name)
    ml(workspace).online_endpoints.begin_delete(wanted.name).wait()


def score(workspace: Any, endpoint: Any, credential: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {credential}"}
    return workspace.http.post(str(endpoint.scoring_uri), json=ask("x"), headers=headers)


def test_the_sdk_gets_an_answer_in_every_mode(workspace: Any, answering: Any, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps(ask("hello")))
    text = ml(workspace).online_endpoints.invoke(answering.name, deployment_name="blue", request_file=str(request))
    assert json.loads(text) == [{"0": "echo|hello|1"}]

    found = ml(workspace).online_endpoints.get_keys(answering.name)
    if answering.auth_mode == "key":
        assert found.primary_key != found.secondary_key
        assert score(workspace, answering, found.secondary_key).status_code == 200
    else:
        assert score(workspace, answering, found.access_token).status_code == 200
    if answering.auth_mode == "aml_token":
        assert found.token_type == "Bearer"
        assert time.time() < found.refresh_after_time_utc < found.expiry_time_utc
    refused = score(workspace, answering, "something")
    assert refused.status_code == 401
    assert "WWW-Authenticate" in refused.headers


def test_a_token_ends_and_a_new_one_opens(workspace: Any, control: Control, endpoint: str) -> None:
    wanted = new_endpoint(auth_mode="aml_token")
    endpoints = ml(workspace).online_endpoints
    endpoints.begin_create_or_update(wanted).wait()
    try:
        found = endpoints.get(wanted.name)
        control.set_token_life(2, 1)
        short = endpoints.get_keys(wanted.name)
        assert short.expiry_time_utc - short.refresh_after_time_utc == 1
        # 404: let in, but there is no deployment.
        assert score(workspace, found, short.access_token).status_code == 404
        expired = until(lambda: score(workspace, found, short.access_token), lambda answer: answer.status_code == 401)
        assert expired.json()["error"]["code"] == "ExpiredAuthenticationToken"
        assert score(workspace, found, endpoints.get_keys(wanted.name).access_token).status_code == 404
        # A token is of its endpoint alone.
        other = endpoints.get(endpoint)
        assert score(workspace, other, endpoints.get_keys(wanted.name).access_token).status_code == 401
    finally:
        endpoints.begin_delete(wanted.name).wait()
