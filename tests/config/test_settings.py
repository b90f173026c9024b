"""The environment, read once and checked as a whole."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import certifi
import pytest

from phi_assets.config.settings import (
    EMULATOR_SUBSCRIPTION,
    PROJECT_ROOT,
    SettingsError,
    emulator_home,
    load_settings,
    read_env_file,
)
from phi_assets.config.trust import trust_authorities

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
    assert settings.storage == str(tmp_path / "storage")
    assert settings.project == "phi_assets"
    assert load_settings({"PHI_PROJECT": "Support bots, EU"}).project == "Support bots, EU"


def test_the_emulator_ignores_the_coordinates_of_a_real_workspace(tmp_path: Path) -> None:
    settings = load_settings({**AZURE, "PHI_TARGET": "emulator", "PHI_HOME": str(tmp_path)})
    assert settings.subscription_id == EMULATOR_SUBSCRIPTION


def test_azure_takes_the_coordinates_of_the_environment() -> None:
    settings = load_settings({**AZURE, "PHI_CREDENTIAL": "managed_identity", "PHI_STORAGE": "abfss://refs@account/phi"})
    assert settings.target == "azure"
    assert settings.subscription_id == AZURE["AZURE_SUBSCRIPTION_ID"]
    assert (settings.resource_group, settings.workspace_name) == ("group", "workspace")
    assert settings.recipe == "phi4_ultrachat"
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
    config = {
        "subscription_id": "22222222-2222-4222-8222-222222222222",
        "resource_group": "file-group",
        "workspace_name": "file-workspace",
    }
    (working_directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    settings = load_settings({"PHI_TARGET": "azure", "AZURE_RESOURCE_GROUP": "group"})
    assert settings.subscription_id == "22222222-2222-4222-8222-222222222222"
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


TENANT, CLIENT = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
PRINCIPAL = {"PHI_CREDENTIAL": "environment", "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}
WORKLOAD = {"PHI_CREDENTIAL": "workload_identity", "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}
BROKEN: list[tuple[dict[str, str], str]] = [
    (
        {"PHI_CREDENTIAL": "environment"},
        "PHI_CREDENTIAL=environment (a service principal) needs AZURE_TENANT_ID, AZURE_CLIENT_ID, "
        "AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH",
    ),
    (
        PRINCIPAL,
        "PHI_CREDENTIAL=environment (a service principal) needs AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH",
    ),
    (PRINCIPAL | {"AZURE_CLIENT_CERTIFICATE_PATH": "no.pem"}, "AZURE_CLIENT_CERTIFICATE_PATH='no.pem' is no file"),
    (
        {"PHI_CREDENTIAL": "workload_identity", "AZURE_TENANT_ID": TENANT},
        "PHI_CREDENTIAL=workload_identity (a Kubernetes service account) needs AZURE_CLIENT_ID, "
        "AZURE_FEDERATED_TOKEN_FILE",
    ),
    (WORKLOAD | {"AZURE_FEDERATED_TOKEN_FILE": "no-token"}, "AZURE_FEDERATED_TOKEN_FILE='no-token' is no file"),
    (
        {"PHI_CREDENTIAL": "managed_identity", "AZURE_CLIENT_ID": "my-app"},
        "AZURE_CLIENT_ID='my-app' is not a client id: it is a UUID, not the application's name",
    ),
    (
        {"AZURE_SUBSCRIPTION_ID": "Pay-as-you-go"},
        "AZURE_SUBSCRIPTION_ID='Pay-as-you-go' is not a subscription's id: it is a UUID, not the name",
    ),
    (
        {"AZURE_ML_WORKSPACE": "ws"},
        "AZURE_ML_WORKSPACE: 'ws' is not a valid workspace name: it has 3 to 33 letters, digits, dashes and "
        "underscores, and begins with a letter or digit",
    ),
    ({"AZURE_TENANT_ID": "contoso"}, "AZURE_TENANT_ID='contoso' is neither a tenant's id nor its domain"),
    ({"PHI_CLOUD": "us"}, "PHI_CLOUD='us' is not one of AzureCloud, AzureUSGovernment, AzureChinaCloud"),
    ({"PHI_CREDENTAIL": "cli"}, "PHI_CREDENTAIL is not a setting; did you mean PHI_CREDENTIAL?"),
    ({"HTTPS_PROXY": "proxy.corp:8080"}, "HTTPS_PROXY is not the address of a proxy: write http://host:port"),
    ({"https_proxy": "http://proxy:eighty"}, "https_proxy is not the address of a proxy: write http://host:port"),
    ({"PHI_CA_BUNDLE": "/no/ca.pem"}, "PHI_CA_BUNDLE='/no/ca.pem' is no file"),
    ({"REQUESTS_CA_BUNDLE": "/no/ca.pem"}, "REQUESTS_CA_BUNDLE='/no/ca.pem' is no file"),
    ({"PHI_ALERT_WEBHOOK": "chat.corp/hook"}, "PHI_ALERT_WEBHOOK is not an address: write https://host/path"),
    ({"PHI_EMULATOR_TIME_SCALE": "fast"}, "PHI_EMULATOR_TIME_SCALE='fast' is not a number above 0"),
    ({"PHI_CREDENTIAL_TIMEOUT": "12.5"}, "PHI_CREDENTIAL_TIMEOUT='12.5' is not a whole number above 0"),
    (
        {"PHI_PROJECT": "chat\n"},
        "PHI_PROJECT: 'chat\\n' is not a valid name of a recipe or project, which is the value of a tag: it has 1 to "
        "256 characters that can be printed, and begins and ends with none that is blank",
    ),
    ({"PHI_SIGHT_HOURS": "0"}, "PHI_SIGHT_HOURS='0' is not a number above 0"),
    ({"PHI_EMULATOR_TIME_SCALE": "nan"}, "PHI_EMULATOR_TIME_SCALE='nan' is not a number above 0"),
    (
        {"AZURE_SUBSCRIPTION_ID": EMULATOR_SUBSCRIPTION, "ARM_CLOUD_METADATA_URL": "https://127.0.0.1:8443/metadata"},
        "PHI_TARGET=azure, but AZURE_SUBSCRIPTION_ID, ARM_CLOUD_METADATA_URL and what was set with them still lead to "
        "the emulator: use a new shell",
    ),
]


@pytest.mark.parametrize(("broken", "complaint"), BROKEN, ids=[complaint[:50] for _, complaint in BROKEN])
def test_each_broken_setting_has_a_message_of_its_own(broken: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(AZURE | broken)
    assert str(raised.value) == f"The settings are incomplete:\n- {complaint}"


def test_all_of_them_are_said_in_one_message() -> None:
    environ = {"PHI_TARGET": "azure", "PHI_CREDENTIAL": "environment", "PHI_CLOUD": "us", "HTTPS_PROXY": "p:1"}
    with pytest.raises(SettingsError) as raised:
        load_settings(environ)
    assert len(str(raised.value).splitlines()) == 5


def test_no_message_quotes_a_secret() -> None:
    secrets = {"AZURE_CLIENT_SECRET": "canary-1", "HTTPS_PROXY": "canary-2", "PHI_ALERT_WEBHOOK": "canary-3"}
    with pytest.raises(SettingsError) as raised:
        load_settings(
            AZURE | {"PHI_CREDENTIAL": "environment", "AZURE_CLIENT_CERTIFICATE_PASSWORD": "canary-4"} | secrets
        )
    assert "canary" not in str(raised.value)


def test_complete_settings_of_every_way_to_sign_in_are_taken(working_directory: Path) -> None:
    file = working_directory / "file"
    file.write_text("content", encoding="utf-8")
    for more in (
        PRINCIPAL | {"AZURE_CLIENT_SECRET": "secret"},
        PRINCIPAL | {"AZURE_CLIENT_CERTIFICATE_PATH": str(file)},
        WORKLOAD | {"AZURE_FEDERATED_TOKEN_FILE": str(file)},
        {"PHI_CREDENTIAL": "managed_identity"},
        {"PHI_CREDENTIAL": "cli", "AZURE_TENANT_ID": "contoso.onmicrosoft.com"},
    ):
        settings = load_settings(AZURE | more)
        assert settings.credential == more["PHI_CREDENTIAL"]
        assert settings.tenant_id == more.get("AZURE_TENANT_ID")
        assert "secret" not in repr(settings)


def test_the_emulator_asks_nothing_about_signing_in(tmp_path: Path) -> None:
    assert load_settings({"PHI_HOME": str(tmp_path), "PHI_CREDENTIAL": "environment"}).target == "emulator"


def test_the_cloud_is_the_one_that_the_sdk_was_told_unless_set() -> None:
    told = AZURE | {"AZUREML_CURRENT_CLOUD": "AzureUSGovernment"}
    assert load_settings(told).cloud == "AzureUSGovernment"
    assert load_settings(told | {"PHI_CLOUD": "AzureChinaCloud"}).cloud == "AzureChinaCloud"
    assert load_settings(AZURE | {"AZUREML_CURRENT_CLOUD": "PhiEmulator-1"}).cloud == "AzureCloud"


def test_a_bundle_in_another_form_than_pem_is_refused(working_directory: Path) -> None:
    (working_directory / "ca.der").write_bytes(b"0\x82\x01")
    with pytest.raises(SettingsError, match=r"PHI_CA_BUNDLE='.*ca\.der' holds no certificate in PEM form"):
        load_settings({"PHI_CA_BUNDLE": str(working_directory / "ca.der")})


def test_authorities_are_trusted_beside_the_usual_ones_however_often(working_directory: Path) -> None:
    ours = working_directory / "ours.pem"
    # Any certificate does, and the last one of the usual bundle is cut out of what was trusted before.
    *usual, last = Path(certifi.where()).read_text(encoding="utf-8").split("-----BEGIN CERTIFICATE-----")
    ours.write_text(f"-----BEGIN CERTIFICATE-----{last}", encoding="utf-8")
    before = working_directory / "before.pem"
    before.write_text("-----BEGIN CERTIFICATE-----".join(usual), encoding="utf-8")
    environ = {"PHI_HOME": str(working_directory / "home"), "PHI_CA_BUNDLE": str(ours), "SSL_CERT_FILE": str(before)}
    settings = load_settings(environ)
    trust_authorities(settings, environ)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        content = Path(environ[name]).read_text(encoding="utf-8")
        assert last.strip() in content
        assert usual[-1].strip() in content
    first = dict(environ)
    trust_authorities(settings, environ)
    assert environ == first


def test_without_a_bundle_nothing_is_set(tmp_path: Path) -> None:
    environ = {"PHI_HOME": str(tmp_path)}
    trust_authorities(load_settings(environ), environ)
    assert list(environ) == ["PHI_HOME"]


def test_the_env_file_fills_what_the_environment_leaves_open(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (working_directory / ".env").write_text("PHI_RECIPE=from-file\nPHI_STORAGE=from-file\n", encoding="utf-8")
    monkeypatch.setenv("PHI_STORAGE", "from-environment")
    monkeypatch.setenv("PHI_RECIPE", "")  # has to be known to the patch, which takes it away again
    monkeypatch.delenv("PHI_RECIPE")
    read_env_file()
    settings = load_settings()
    assert (settings.recipe, settings.storage) == ("from-file", "from-environment")


def test_data_lies_in_a_folder_or_at_a_url_of_which_this_machine_has_a_cache(tmp_path: Path) -> None:
    home = {"PHI_HOME": str(tmp_path)}
    for data, said, folder in (
        ("", str(tmp_path / "data"), tmp_path / "data"),
        (f"file://{tmp_path}/a", str(tmp_path / "a"), tmp_path / "a"),
        ("az://c/a", "az://c/a", tmp_path / "data"),
        ("azureml://datastores/d/paths/a", "azureml://datastores/d/paths/a", tmp_path / "data"),
    ):
        settings = load_settings({**home, "PHI_DATA": data})
        assert (settings.data, settings.data_dir) == (said, folder)


@pytest.mark.parametrize("name", ["PHI_DATA", "PHI_STORAGE"])
def test_a_url_with_a_credential_is_refused_without_being_quoted(name: str) -> None:
    for url in ("https://a.blob.core.windows.net/c?sig=c2VjcmV0", "s3://key:c2VjcmV0@bucket/a"):
        with pytest.raises(SettingsError, match=f"{name} has what opens the storage in the URL") as raised:
            load_settings({name: url})
        assert "c2VjcmV0" not in str(raised.value)
