"""Each way to sign in, the whole way: through a proxy that inspects TLS, to the cloud and tenant that were asked for.

A process of its own each time, with nothing in its environment but the settings.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_assets.config.settings import PROJECT_ROOT
from tests.azureml.connection.inspecting_proxy import Proxy, client_certificate, inspecting_proxy

TENANT, CLIENT = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
PUBLIC, GOVERNMENT, CHINA = "login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn"
PRIVATE, MANAGER = "login.private.test", "management.usgovcloudapi.net"

SIGNS_IN = """
import jwt
from phi_assets.azureml.connection.client import connect_azure
from phi_assets.config.settings import load_settings
token = connect_azure(load_settings()).bearer()
print(jwt.decode(token, options={"verify_signature": False})["aud"])
"""

ASKS_FOR_THE_WORKSPACE = """
import os
from phi_assets.azureml.connection.client import connect_azure
from phi_assets.config.settings import load_settings
ws = connect_azure(load_settings())
print(ws.location, ws.studio_url("a-job"), os.environ["AZUREML_CURRENT_CLOUD"])
print(ws.http.get("https://management.usgovcloudapi.net/metadata").status_code)
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    hosts = (PUBLIC, GOVERNMENT, CHINA, PRIVATE, MANAGER, "identity.test")
    with inspecting_proxy(tmp_path_factory.mktemp("proxy"), *hosts) as running:
        yield running


@pytest.fixture(autouse=True)
def forgetful(proxy: Proxy) -> None:
    proxy.tunnels.clear()
    proxy.requests.clear()


def environment(proxy: Proxy, home: Path, **more: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **inherited,
        "HOME": str(home),
        "PYTHONPATH": str(PROJECT_ROOT),
        "PHI_HOME": str(home),
        "PHI_TARGET": "azure",
        "PHI_CA_BUNDLE": str(proxy.authority),
        "HTTPS_PROXY": proxy.url,
        "AZURE_SUBSCRIPTION_ID": "11111111-1111-4111-8111-111111111111",
        "AZURE_RESOURCE_GROUP": "group",
        "AZURE_ML_WORKSPACE": "workspace",
        **more,
    }


def python(code: str, variables: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def signed_in(variables: dict[str, str], folder: Path) -> str:
    """The audience of the token."""
    result = python(SIGNS_IN, variables, folder)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("cloud", "authority", "audience"),
    [
        ("AzureCloud", PUBLIC, "https://management.azure.com/.default"),
        ("AzureUSGovernment", GOVERNMENT, "https://management.usgovcloudapi.net/.default"),
        ("AzureChinaCloud", CHINA, "https://management.chinacloudapi.cn/.default"),
    ],
)
def test_a_service_principal_with_a_secret_signs_in_to_its_cloud(
    proxy: Proxy, tmp_path: Path, cloud: str, authority: str, audience: str
) -> None:
    principal = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": "canary"}
    variables = environment(proxy, tmp_path, PHI_CREDENTIAL="environment", PHI_CLOUD=cloud, **principal)
    assert signed_in(variables, tmp_path) == audience
    (form,) = proxy.forms("/oauth2/v2.0/token")
    assert (form["client_id"], form["client_secret"], form["scope"]) == (CLIENT, "canary", audience)
    assert set(proxy.tunnels) == {authority}, "no other way is probed, no other host asked"
    assert all(TENANT in path for _, path, _ in proxy.requests)


def test_a_service_principal_with_a_certificate_proves_that_it_has_the_key(proxy: Proxy, tmp_path: Path) -> None:
    certificate = client_certificate(tmp_path / "principal.pem")
    principal = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_CERTIFICATE_PATH": str(certificate),
    }
    signed_in(environment(proxy, tmp_path, PHI_CREDENTIAL="environment", **principal), tmp_path)
    (form,) = proxy.forms("/oauth2/v2.0/token")
    assert form["client_assertion"].count(".") == 2
    assert "client_secret" not in form


def test_workload_identity_hands_in_the_service_accounts_token(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("service-account-token", encoding="utf-8")
    identity = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
    }
    # Kubernetes sets the authority with a slash at its end.
    host = {"AZURE_AUTHORITY_HOST": f"https://{PUBLIC}/"}
    signed_in(environment(proxy, tmp_path, PHI_CREDENTIAL="workload_identity", **identity, **host), tmp_path)
    (form,) = proxy.forms("/oauth2/v2.0/token")
    assert (form["client_id"], form["client_assertion"]) == (CLIENT, "service-account-token")


def test_a_private_cloud_is_asked_itself_and_nobody_else(proxy: Proxy, tmp_path: Path) -> None:
    principal = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": "canary"}
    variables = environment(proxy, tmp_path, PHI_CREDENTIAL="environment", AZURE_AUTHORITY_HOST=PRIVATE, **principal)
    signed_in(variables, tmp_path)
    assert set(proxy.tunnels) == {PRIVATE}


def test_a_managed_identity_is_the_one_of_the_client_id(proxy: Proxy, tmp_path: Path) -> None:
    service = {"IDENTITY_ENDPOINT": "https://identity.test/msi/token", "IDENTITY_HEADER": "header"}
    variables = environment(proxy, tmp_path, PHI_CREDENTIAL="managed_identity", AZURE_CLIENT_ID=CLIENT, **service)
    assert signed_in(variables, tmp_path) == "https://management.azure.com"
    (form,) = proxy.forms("/msi/token")
    assert form["client_id"] == CLIENT


def test_the_command_line_is_asked_for_the_tenant(proxy: Proxy, tmp_path: Path) -> None:
    answer = {"accessToken": "e30.eyJhdWQiOiAidGhlLWNsaSJ9.c2ln", "expiresOn": "2099-01-01 00:00:00.000000"}
    program, seen = tmp_path / "az", tmp_path / "arguments"
    program.write_text(f"#!/bin/sh\necho \"$@\" > '{seen}'\necho '{json.dumps(answer)}'\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    variables = environment(proxy, tmp_path, PHI_CREDENTIAL="cli", AZURE_TENANT_ID=TENANT)
    assert signed_in(variables | {"PATH": f"{tmp_path}:{variables['PATH']}"}, tmp_path) == "the-cli"
    assert f"--tenant {TENANT}" in seen.read_text(encoding="utf-8")
    assert proxy.tunnels == []


def test_without_the_companys_authority_nobody_signs_in(proxy: Proxy, tmp_path: Path) -> None:
    principal = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": "canary"}
    variables = environment(proxy, tmp_path, PHI_CREDENTIAL="environment", PHI_CA_BUNDLE="", **principal)
    result = python(SIGNS_IN, variables, tmp_path)
    assert result.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in result.stderr
    assert "canary" not in result.stderr + result.stdout
    assert proxy.tunnels
    assert proxy.requests == []


@pytest.mark.slow
def test_the_sdk_finds_the_workspace_of_another_cloud_through_the_proxy(proxy: Proxy, tmp_path: Path) -> None:
    principal = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": "canary"}
    cloud = {"PHI_CREDENTIAL": "environment", "PHI_CLOUD": "AzureUSGovernment"}
    result = python(ASKS_FOR_THE_WORKSPACE, environment(proxy, tmp_path, **cloud, **principal), tmp_path)
    assert result.returncode == 0, result.stderr
    described, asked = result.stdout.strip().splitlines()
    location, studio, current = described.split()
    assert (location, current, asked) == ("usgovvirginia", "AzureUSGovernment", "200")
    assert studio.startswith("https://ml.azure.us/runs/a-job?")
    assert set(proxy.tunnels) == {GOVERNMENT, MANAGER}
