"""Tokens: only ours, only for what they say, only in time."""

import base64
import json
import stat
import time
from pathlib import Path

import jwt
import pytest
from starlette.requests import Request

from phi_assets.emulator.security.auth import ML_AUDIENCE, PUBLIC_MANAGEMENT_AUDIENCE, STORAGE_AUDIENCE, Auth
from phi_assets.emulator.wire.errors import ServiceError

BASE = "https://127.0.0.1:9443"


@pytest.fixture
def auth(tmp_path: Path) -> Auth:
    return Auth(tmp_path, BASE)


def bearer(token: str) -> Request:
    return Request({"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())], "query_string": b""})


@pytest.mark.parametrize("audience", [BASE, BASE + "/"])
def test_a_management_token_passes(auth: Auth, audience: str):
    claims = auth.require_bearer(bearer(auth.issue(audience)))
    assert claims["aud"] == audience
    assert {"tid", "oid", "appid", "exp"} <= claims.keys()


@pytest.mark.parametrize("audience", [PUBLIC_MANAGEMENT_AUDIENCE, ML_AUDIENCE])
def test_tokens_of_the_public_cloud_open_registries_only(auth: Auth, audience: str):
    request = bearer(auth.issue(audience))
    assert auth.require_bearer(request, auth.registry_audiences)["aud"] == audience
    with pytest.raises(ServiceError, match="InvalidAuthenticationTokenAudience"):
        auth.require_bearer(request)
    with pytest.raises(ServiceError, match="InvalidAuthenticationTokenAudience"):
        auth.require_bearer(bearer(auth.issue(STORAGE_AUDIENCE)), auth.registry_audiences)


def test_a_token_is_good_after_a_restart(auth: Auth, tmp_path: Path):
    assert Auth(tmp_path, BASE).require_bearer(bearer(auth.issue(BASE)))["aud"] == BASE


def test_a_token_that_was_good_is_not_when_its_time_has_come(auth: Auth, monkeypatch: pytest.MonkeyPatch):
    request = bearer(auth.issue(BASE, lifetime_seconds=60))
    now = time.time()
    auth.require_bearer(request)
    monkeypatch.setattr(time, "time", lambda: now + 61)
    with pytest.raises(ServiceError) as caught:
        auth.require_bearer(request)
    assert (caught.value.status, caught.value.code) == (401, "ExpiredAuthenticationToken")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda auth: auth.issue(STORAGE_AUDIENCE), "InvalidAuthenticationTokenAudience"),
        (lambda auth: auth.issue(BASE, lifetime_seconds=-120), "ExpiredAuthenticationToken"),
        (lambda auth: auth.issue(BASE)[:-4] + "AAAA", "InvalidAuthenticationToken"),
        (lambda auth: jwt.encode({"aud": BASE, "exp": time.time() + 60}, "0" * 32), "InvalidAuthenticationToken"),
        (lambda auth: unsigned({"aud": BASE, "exp": time.time() + 60}), "InvalidAuthenticationToken"),
        (lambda auth: "nonsense", "InvalidAuthenticationToken"),
    ],
    ids=["other audience", "expired", "changed signature", "other key", "alg none", "no token"],
)
def test_other_tokens_do_not(auth: Auth, make, code: str):
    with pytest.raises(ServiceError) as caught:
        auth.require_bearer(bearer(make(auth)))
    assert (caught.value.status, caught.value.code) == (401, code)


def unsigned(claims: dict) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def test_a_request_without_token_does_not(auth: Auth):
    with pytest.raises(ServiceError) as caught:
        auth.require_bearer(Request({"type": "http", "headers": [], "query_string": b""}))
    assert caught.value.status == 401


def test_secrets_are_for_the_owner_only(auth: Auth, tmp_path: Path):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"signing.key": 0o600, "identity.key": 0o600, "control.key": 0o600}
