"""Where the graph runs: the environment, read once, checked as a whole and frozen."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args, get_type_hints

from phi_assets.config.requirements import (
    coordinate_problems,
    credential_problems,
    emulator_leftovers,
    network_problems,
    number_problems,
    project_problems,
)
from phi_assets.config.urls import is_url, url_problem
from phi_assets.config.variables import ReadElsewhere, Variable, misspelt

Target = Literal["emulator", "azure"]
CredentialMode = Literal["default", "cli", "environment", "managed_identity", "workload_identity", "interactive"]
Cloud = Literal["AzureCloud", "AzureUSGovernment", "AzureChinaCloud"]

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PRICES_FILE = Path(__file__).parents[1] / "prices.yaml"

PROJECT = "phi_assets"
"""What `PHI_PROJECT` is unless it is set."""

EMULATOR_SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
EMULATOR_RESOURCE_GROUP = "phi-emulator"
EMULATOR_WORKSPACE = "phi-workspace"

CREDENTIAL_TIMEOUT_SECONDS = 30
SIGHT_HOURS = 12.0

_ON_AZURE = "needed with `PHI_TARGET=azure`"


class SettingsError(ValueError):
    """The environment does not say where to run; the message lists everything that is wrong with it at once."""


@dataclass(frozen=True)
class Settings:
    """Target workspace, directories and credential mode of this process. Holds no secret."""

    target: Annotated[Target, Variable("PHI_TARGET", "`emulator`")]
    """Where the graph runs: on the local emulator, or in a workspace of Azure."""
    home: Annotated[Path, Variable("PHI_HOME", "`.phi` in the project")]
    """Everything the project writes on this machine: the emulator's state, the cache of `PHI_DATA`."""
    data: Annotated[str, Variable("PHI_DATA", "`$PHI_HOME/data`")]
    """Where downloads, samples and answers lie: a path, or a URL (`abfss://`, `az://`, `s3://`, `gs://`, a datastore's
    `azureml://datastores/<name>/paths/<path>`), of which this machine then has a cache in `$PHI_HOME/data`."""
    storage: Annotated[str, Variable("PHI_STORAGE", "`$PHI_HOME/storage`")]
    """Where assets keep the refs that they hand to each other: a path, or such a URL."""
    recipe: Annotated[str, Variable("PHI_RECIPE", "`quickstart`; on Azure `phi4_ultrachat`")]
    """Recipes of this code location: names in `phi_assets/recipes`, paths of YAML files and globs, with commas."""
    prices: Annotated[Path, Variable("PHI_PRICES", "`phi_assets/prices.yaml`")]
    """YAML file with the hourly prices of machines."""
    credential: Annotated[CredentialMode, Variable("PHI_CREDENTIAL", "`default`")]
    """How to sign in to Azure. `environment` is a service principal; `default` tries one way after the other; a browser
    opens for `interactive` only."""
    subscription_id: Annotated[str, Variable("AZURE_SUBSCRIPTION_ID", _ON_AZURE)]
    """Subscription of the workspace; a `config.json` from Studio in the working directory says it too."""
    resource_group: Annotated[str, Variable("AZURE_RESOURCE_GROUP", _ON_AZURE)]
    """Resource group of the workspace; likewise."""
    workspace_name: Annotated[str, Variable("AZURE_ML_WORKSPACE", _ON_AZURE)]
    """Name of the workspace; likewise."""
    project: Annotated[str, Variable("PHI_PROJECT", f"`{PROJECT}`")] = PROJECT
    """Whose things are: the tag `phi-project` on all that is made. Those who share a workspace and are not to touch
    each other's clusters, endpoints and models have a name each."""
    cloud: Annotated[Cloud, Variable("PHI_CLOUD", "`AzureCloud`")] = "AzureCloud"
    """Which Azure; decides where to sign in, where resources are managed and where Studio is."""
    tenant_id: Annotated[str | None, Variable("AZURE_TENANT_ID", "the identity's own")] = None
    """Tenant to sign in to; needed for a service principal and for workload identity."""
    client_id: Annotated[str | None, Variable("AZURE_CLIENT_ID")] = None
    """Client id of the service principal, or of the managed or workload identity where there are several."""
    credential_timeout_seconds: Annotated[
        int, Variable("PHI_CREDENTIAL_TIMEOUT", f"`{CREDENTIAL_TIMEOUT_SECONDS}`")
    ] = CREDENTIAL_TIMEOUT_SECONDS
    """Seconds that `az`, or another program that gives tokens, may take for one."""
    sight_hours: Annotated[float, Variable("PHI_SIGHT_HOURS", f"`{SIGHT_HOURS:g}`")] = SIGHT_HOURS
    """How long a run looks for its job or deployment while it cannot be seen: no sign-in, no network, no answer. The
    job runs on meanwhile, and afterwards too."""
    ca_bundle: Annotated[Path | None, Variable("PHI_CA_BUNDLE")] = None
    """PEM file of certificate authorities to trust beside the usual ones, for networks that inspect TLS."""

    @property
    def data_dir(self) -> Path:
        """The folder of raw and sampled splits on this machine: `PHI_DATA` itself, or its cache."""
        return self.home / "data" if is_url(self.data) else Path(self.data)


def setting_variables() -> dict[str, Variable]:
    """The environment variable of every setting, by field."""
    hints = get_type_hints(Settings, include_extras=True)
    return {
        field: extra for field, hint in hints.items() for extra in get_args(hint)[1:] if isinstance(extra, Variable)
    }


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (the process environment unless given).

    With `PHI_TARGET=azure`, workspace coordinates come from `AZURE_SUBSCRIPTION_ID`, `AZURE_RESOURCE_GROUP` and
    `AZURE_ML_WORKSPACE`; what is missing there is taken from the `config.json` that Azure ML Studio offers for
    download, when one lies in the working directory.

    Raises:
        SettingsError: naming every variable that is missing or has a value that is not allowed.
    """
    env = os.environ if environ is None else environ
    problems = misspelt(env, _known_variables())
    target = _choice(env, "PHI_TARGET", "emulator", get_args(Target), problems)
    credential = _choice(env, "PHI_CREDENTIAL", "default", get_args(CredentialMode), problems)
    # The SDK's own variable; an emulator's name in it is not meant for us.
    inherited = env.get("AZUREML_CURRENT_CLOUD", "")
    default_cloud = inherited if inherited in get_args(Cloud) else "AzureCloud"
    cloud = _choice(env, "PHI_CLOUD", default_cloud, get_args(Cloud), problems)
    coordinates = {
        "AZURE_SUBSCRIPTION_ID": EMULATOR_SUBSCRIPTION,
        "AZURE_RESOURCE_GROUP": EMULATOR_RESOURCE_GROUP,
        "AZURE_ML_WORKSPACE": EMULATOR_WORKSPACE,
    }
    if target == "azure":
        coordinates = _coordinates(env, problems)
        problems += coordinate_problems(coordinates["AZURE_SUBSCRIPTION_ID"], coordinates["AZURE_ML_WORKSPACE"])
        problems += emulator_leftovers(env, EMULATOR_SUBSCRIPTION) + credential_problems(credential, env)
    problems += network_problems(env) + number_problems(env) + project_problems(env)
    problems += [f"{name} {wrong}" for name in ("PHI_DATA", "PHI_STORAGE") if (wrong := url_problem(env.get(name, "")))]
    home = emulator_home(env)
    if problems:
        raise SettingsError("The settings are incomplete:\n" + "\n".join(f"- {problem}" for problem in problems))
    return Settings(
        target=target,  # type: ignore[arg-type]
        home=home,
        data=_place(env, "PHI_DATA") or str(home / "data"),
        storage=env.get("PHI_STORAGE") or str(home / "storage"),
        recipe=env.get("PHI_RECIPE") or ("quickstart" if target == "emulator" else "phi4_ultrachat"),
        # Not looked at here: who tears down what is billing must not be kept from it by a wrong price file.
        prices=_path(env, "PHI_PRICES") or PRICES_FILE,
        credential=credential,  # type: ignore[arg-type]
        subscription_id=coordinates["AZURE_SUBSCRIPTION_ID"],
        resource_group=coordinates["AZURE_RESOURCE_GROUP"],
        workspace_name=coordinates["AZURE_ML_WORKSPACE"],
        project=env.get("PHI_PROJECT") or PROJECT,
        cloud=cloud,  # type: ignore[arg-type]
        tenant_id=env.get("AZURE_TENANT_ID") or None,
        client_id=env.get("AZURE_CLIENT_ID") or None,
        credential_timeout_seconds=int(env.get("PHI_CREDENTIAL_TIMEOUT") or CREDENTIAL_TIMEOUT_SECONDS),
        sight_hours=float(env.get("PHI_SIGHT_HOURS") or SIGHT_HOURS),
        ca_bundle=_path(env, "PHI_CA_BUNDLE"),
    )


def read_env_file() -> None:
    """The environment has what the working directory's `.env` adds to it, as `dg dev` has it too."""
    from dotenv import load_dotenv

    load_dotenv(Path.cwd() / ".env")


def emulator_home(env: Mapping[str, str]) -> Path:
    """`PHI_HOME`, or `.phi` beside the project's files, or `~/.phi` where the package is installed without them."""
    given = _path(env, "PHI_HOME")
    return given or (PROJECT_ROOT / ".phi" if (PROJECT_ROOT / "workspace.yaml").exists() else Path.home() / ".phi")


_CONFIG_KEYS = {
    "AZURE_SUBSCRIPTION_ID": "subscription_id",
    "AZURE_RESOURCE_GROUP": "resource_group",
    "AZURE_ML_WORKSPACE": "workspace_name",
}


def _known_variables() -> frozenset[str]:
    others = (value for value in vars(ReadElsewhere).values() if isinstance(value, Variable))
    return frozenset(variable.name for variable in (*setting_variables().values(), *others))


def _choice(env: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...], problems: list[str]) -> str:
    value = env.get(name) or default
    if value not in allowed:
        problems.append(f"{name}={value!r} is not one of {', '.join(allowed)}")
    return value


def _path(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]).expanduser().resolve() if env.get(name) else None


def _place(env: Mapping[str, str], name: str) -> str:
    """A URL as it is, or an absolute path."""
    given = env.get(name) or ""
    if not given or is_url(given):
        return given
    return str(Path(given.removeprefix("file://")).expanduser().resolve())


def _coordinates(env: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    coordinates = {name: env.get(name, "") for name in _CONFIG_KEYS}
    if not all(coordinates.values()):
        file = _from_config_json(Path.cwd() / "config.json", problems)
        coordinates = file | {name: value for name, value in coordinates.items() if value}
    missing = [name for name in _CONFIG_KEYS if not coordinates.get(name)]
    if missing:
        problems.append(
            f"PHI_TARGET=azure needs {', '.join(missing)}: set {'it' if len(missing) == 1 else 'them'} in the "
            "environment or .env, or put the workspace's config.json into the working directory"
        )
    return {name: coordinates.get(name, "") for name in _CONFIG_KEYS}


def _from_config_json(path: Path, problems: list[str]) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path} is not valid JSON: {error}")
        return {}
    if not isinstance(config, dict):
        problems.append(f"{path} must hold a JSON object with {', '.join(_CONFIG_KEYS.values())}")
        return {}
    return {name: str(config.get(key) or "") for name, key in _CONFIG_KEYS.items()}
