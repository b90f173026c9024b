"""The environment, read once and checked as a whole."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from phi_assets.settings import EMULATOR_SUBSCRIPTION, PROJECT_ROOT, SettingsError, emulator_home, load_settings

AZURE = {
    "PHI_TARGET": "azure",
    "AZURE_SUBSCRIPTION_ID": "11111111-1111-4111-8111-111111111111",
    "AZURE_RESOURCE_GROUP": "group",
    "AZURE_ML_WORKSPACE": "workspace",
}


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_empty_environment_means_the_emulator(tmp_path: Path) -> None:
    settings = load_settings({"PHI_HOME": str(tmp_path)})
    assert (settings.target, settings.recipe, settings.credential) == ("emulator", "quickstart", "default")
    assert settings.subscription_id == EMULATOR_SUBSCRIPTION
    assert settings.home == tmp_path
    assert settings.data_dir == tmp_path / "data"
    assert settings.emulator_dir == tmp_path / "emulator"
    assert settings.storage == str(tmp_path / "storage")


def test_the_emulator_ignores_the_coordinates_of_a_real_workspace(tmp_path: Path) -> None:
    settings = load_settings({**AZURE, "PHI_TARGET": "emulator", "PHI_HOME": str(tmp_path)})
    assert settings.subscription_id == EMULATOR_SUBSCRIPTION


def test_azure_takes_the_coordinates_of_the_environment() -> None:
    settings = load_settings({**AZURE, "PHI_CREDENTIAL": "managed_identity", "PHI_STORAGE": "abfss://refs@account/phi"})
    assert settings.target == "azure"
    assert settings.subscription_id == AZURE["AZURE_SUBSCRIPTION_ID"]
    assert (settings.resource_group, settings.workspace_name) == ("group", "workspace")
    assert settings.recipe == "phi3_mini_ultrachat"
    assert settings.credential == "managed_identity"
    assert settings.storage == "abfss://refs@account/phi"


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"PHI_TARGET": "azure", "PHI_CREDENTIAL": "magic"})
    message = str(raised.value)
    for expected in (*(name for name in AZURE if name != "PHI_TARGET"), "PHI_CREDENTIAL='magic'", "managed_identity"):
        assert expected in message


@pytest.mark.parametrize("missing", [name for name in AZURE if name != "PHI_TARGET"])
def test_only_what_is_missing_is_asked_for(missing: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({name: value for name, value in AZURE.items() if name != missing})
    named = [name for name in AZURE if name != "PHI_TARGET" and name in str(raised.value)]
    assert named == [missing]


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"PHI_TARGET='aws' is not one of emulator, azure"):
        load_settings({"PHI_TARGET": "aws"})


def test_config_json_fills_what_the_environment_leaves_open(working_directory: Path) -> None:
    config = {"subscription_id": "from-file", "resource_group": "file-group", "workspace_name": "file-workspace"}
    (working_directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    settings = load_settings({"PHI_TARGET": "azure", "AZURE_RESOURCE_GROUP": "group"})
    assert settings.subscription_id == "from-file"
    assert settings.resource_group == "group"
    assert settings.workspace_name == "file-workspace"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", r"config\.json is not valid JSON"),
        ("[]", r"config\.json must hold a JSON object"),
        ('{"subscription_id": null}', r"needs AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP, AZURE_ML_WORKSPACE"),
        ('{"subscription_id": "s"}', r"needs AZURE_RESOURCE_GROUP, AZURE_ML_WORKSPACE"),
    ],
)
def test_a_useless_config_json_is_explained(working_directory: Path, content: str, complaint: str) -> None:
    (working_directory / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=complaint):
        load_settings({"PHI_TARGET": "azure"})


def test_home_is_absolute_and_may_start_at_the_users(working_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(working_directory))
    assert emulator_home({"PHI_HOME": "~/phi"}) == working_directory / "phi"
    assert emulator_home({"PHI_HOME": "here"}) == working_directory / "here"
    assert emulator_home({}) in (PROJECT_ROOT / ".phi", working_directory / ".phi")


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_settings({"PHI_HOME": str(tmp_path)})
    with pytest.raises(FrozenInstanceError):
        settings.recipe = "other"  # type: ignore[misc]
