"""The way to a workspace: lazy, once, and not misled by what other processes leave in the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace, connect_azure, connect_emulator, credential
from phi_assets.azureml.connection.errors import WorkspaceUnreachable
from phi_assets.azureml.connection.lazy_sdk import without_sdk_chatter
from phi_assets.config.settings import load_settings
from phi_assets.emulator.process import Connection

SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"

IMPORTS_EVERYTHING = """
import pkgutil, sys
import phi_assets.azureml
for module in pkgutil.walk_packages(phi_assets.azureml.__path__, "phi_assets.azureml."):
    __import__(module.name)
print("azure.ai.ml" in sys.modules)
"""

IMPORTS_THE_SDK = """
from phi_assets.azureml.connection.client import sdk
print(sdk().__name__)
"""


def python(code: str, **variables: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_the_package_does_not_import_the_sdk() -> None:
    assert python(IMPORTS_EVERYTHING) == "False"


def test_a_child_process_that_inherits_an_emulators_cloud_can_import_the_sdk() -> None:
    assert python(IMPORTS_THE_SDK, AZUREML_CURRENT_CLOUD="PhiEmulator-1") == "azure.ai.ml"


def test_silence_of_two_threads_ends_with_the_streams_as_they_were() -> None:
    streams = sys.stdout, sys.stderr
    first, second = without_sdk_chatter(), without_sdk_chatter()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    print("nobody hears this, and it does not fail")
    second.__exit__(None, None, None)
    assert (sys.stdout, sys.stderr) == streams


def test_connecting_twice_changes_nothing_the_second_time(emulator: Connection) -> None:
    connect_emulator(emulator)
    before = dict(os.environ)
    connect_emulator(emulator)
    assert dict(os.environ) == before
    assert Path(before["REQUESTS_CA_BUNDLE"]).is_file()
    assert "127.0.0.1" in before["NO_PROXY"]
    # These would send every other program of this process's children to the emulator.
    assert "ARM_CLOUD_METADATA_URL" not in before


def test_the_workspace_describes_itself(workspace: Workspace, emulator: Connection) -> None:
    assert workspace.location == "emulator"
    assert workspace.path.endswith(f"/workspaces/{emulator.workspace_name}")


def test_pages_of_studio_are_where_the_emulator_has_them(workspace: Workspace, emulator: Connection) -> None:
    assert workspace.studio_url("a-job") == f"{emulator.studio_url}/runs/a-job?wsid={workspace.path}"
    model = workspace.model_studio_url("chat", "3")
    assert model == f"{emulator.studio_url}/model/chat:3/details?wsid={workspace.path}"
    endpoint = workspace.endpoint_studio_url("answers")
    assert endpoint == f"{emulator.studio_url}/endpoints/realtime/answers/detail?wsid={workspace.path}"


def test_a_wrong_workspace_is_named(emulator: Connection) -> None:
    right = connect_emulator(emulator)
    wrong = Workspace(
        right.credential,
        right.subscription_id,
        right.resource_group,
        "no-such-workspace",
        resource_manager=right.resource_manager,
        ca_bundle=emulator.ca_bundle,
        client_options={"cloud": emulator.cloud_name, "cloud_metadata": emulator.cloud_metadata},
    )
    with pytest.raises(WorkspaceUnreachable, match=r"'no-such-workspace'.*AZURE_ML_WORKSPACE"):
        _ = wrong.description


def test_azure_is_not_contacted_by_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SUBSCRIPTION_ID", SUBSCRIPTION), ("RESOURCE_GROUP", "g"), ("ML_WORKSPACE", "workspace")):
        monkeypatch.setenv(f"AZURE_{name}", value)
    monkeypatch.setenv("PHI_TARGET", "azure")
    monkeypatch.setenv("PHI_CREDENTIAL", "cli")
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureUSGovernment")
    settings = load_settings()
    workspace = connect_azure(settings)
    assert workspace.resource_manager == "https://management.usgovcloudapi.net"
    assert workspace.path.startswith(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/")
    assert workspace.studio_url("a-job") == f"https://ml.azure.us/runs/a-job?wsid={workspace.path}"
    assert os.environ["AZUREML_CURRENT_CLOUD"] == "AzureUSGovernment"


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("default", "DefaultAzureCredential"),
        ("cli", "AzureCliCredential"),
        ("environment", "EnvironmentCredential"),
        ("managed_identity", "ManagedIdentityCredential"),
        ("interactive", "InteractiveBrowserCredential"),
    ],
)
def test_each_mode_is_one_credential(mode: str, kind: str) -> None:
    made: Any = credential(mode, tenant_id="t", timeout_seconds=41)._inner  # type: ignore[arg-type]
    assert type(made).__name__ == kind
    if mode == "default":
        parts = {type(part).__name__: part for part in made.credentials}
        assert "InteractiveBrowserCredential" not in parts
        made = parts["AzureCliCredential"]
    if mode in ("default", "cli"):
        assert made._process_timeout == 41


def test_the_default_asks_each_of_its_ways_for_the_tenant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes none when it is made; without, `az` would answer for whatever tenant it was last signed in to."""
    seen = tmp_path / "arguments"
    program = tmp_path / "az"
    answer = {"accessToken": "e30.e30.c2ln", "expiresOn": "2099-01-01 00:00:00.000000"}
    program.write_text(f"#!/bin/sh\necho \"$@\" > '{seen}'\necho '{json.dumps(answer)}'\n", encoding="utf-8")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    assert credential("default", tenant_id="t").get_token("https://management.azure.com/.default").token
    assert "--tenant t" in seen.read_text(encoding="utf-8")
