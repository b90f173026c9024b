"""Where the graph runs: the environment, read once, checked as a whole and frozen."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Target = Literal["emulator", "azure"]
CredentialMode = Literal["default", "cli", "environment", "managed_identity", "workload_identity", "interactive"]

PROJECT_ROOT = Path(__file__).resolve().parents[1]
PRICES_FILE = Path(__file__).with_name("prices.yaml")

EMULATOR_SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
EMULATOR_RESOURCE_GROUP = "phi-emulator"
EMULATOR_WORKSPACE = "phi-workspace"


class SettingsError(ValueError):
    """The environment does not say where to run; the message lists everything that is wrong with it at once."""


@dataclass(frozen=True)
class Settings:
    """Target workspace, directories and credential mode of this process."""

    target: Target
    home: Path
    """Everything the project writes on this machine: emulator state, downloads, samples (`PHI_HOME`)."""
    storage: str
    """Base of the refs that assets hand to each other, a local path or any fsspec URL (`PHI_STORAGE`)."""
    recipe: str
    """Name of a recipe in `phi_assets/recipes`, or the path of a YAML file (`PHI_RECIPE`)."""
    prices: Path
    """YAML file with the hourly prices of machines (`PHI_PRICES`)."""
    credential: CredentialMode
    subscription_id: str
    resource_group: str
    workspace_name: str

    @property
    def data_dir(self) -> Path:
        """Folder of raw and sampled splits."""
        return self.home / "data"

    @property
    def emulator_dir(self) -> Path:
        """Folder of the emulator's state, blobs, secrets and logs."""
        return self.home / "emulator"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (the process environment unless given).

    With `PHI_TARGET=azure`, workspace coordinates come from `AZURE_SUBSCRIPTION_ID`, `AZURE_RESOURCE_GROUP` and
    `AZURE_ML_WORKSPACE`; what is missing there is taken from the `config.json` that Azure ML Studio offers for
    download, when one lies in the working directory.

    Raises:
        SettingsError: naming every variable that is missing or has a value that is not allowed.
    """
    env = os.environ if environ is None else environ
    problems: list[str] = []
    target = _choice(env, "PHI_TARGET", "emulator", get_args(Target), problems)
    credential = _choice(env, "PHI_CREDENTIAL", "default", get_args(CredentialMode), problems)
    home = emulator_home(env)
    coordinates = {
        "AZURE_SUBSCRIPTION_ID": EMULATOR_SUBSCRIPTION,
        "AZURE_RESOURCE_GROUP": EMULATOR_RESOURCE_GROUP,
        "AZURE_ML_WORKSPACE": EMULATOR_WORKSPACE,
    }
    if target == "azure":
        coordinates = {name: env.get(name, "") for name in coordinates}
        if not all(coordinates.values()):
            coordinates = _from_config_json(Path.cwd() / "config.json") | {k: v for k, v in coordinates.items() if v}
        missing = [name for name in _CONFIG_KEYS if not coordinates.get(name)]
        if missing:
            problems.append(
                f"PHI_TARGET=azure needs {', '.join(missing)}: set {'it' if len(missing) == 1 else 'them'} in the "
                "environment or .env, or put the workspace's config.json into the working directory"
            )
    if problems:
        raise SettingsError("The settings are incomplete:\n" + "\n".join(f"- {problem}" for problem in problems))
    return Settings(
        target=target,  # type: ignore[arg-type]
        home=home,
        storage=env.get("PHI_STORAGE") or str(home / "storage"),
        recipe=env.get("PHI_RECIPE") or ("quickstart" if target == "emulator" else "phi3_mini_ultrachat"),
        prices=Path(env["PHI_PRICES"]).expanduser().resolve() if env.get("PHI_PRICES") else PRICES_FILE,
        credential=credential,  # type: ignore[arg-type]
        subscription_id=coordinates["AZURE_SUBSCRIPTION_ID"],
        resource_group=coordinates["AZURE_RESOURCE_GROUP"],
        workspace_name=coordinates["AZURE_ML_WORKSPACE"],
    )


def emulator_home(env: Mapping[str, str]) -> Path:
    """`PHI_HOME`, or `.phi` beside the project's files, or `~/.phi` where the package is installed without them."""
    if env.get("PHI_HOME"):
        return Path(env["PHI_HOME"]).expanduser().resolve()
    return PROJECT_ROOT / ".phi" if (PROJECT_ROOT / "workspace.yaml").exists() else Path.home() / ".phi"


_CONFIG_KEYS = {
    "AZURE_SUBSCRIPTION_ID": "subscription_id",
    "AZURE_RESOURCE_GROUP": "resource_group",
    "AZURE_ML_WORKSPACE": "workspace_name",
}


def _choice(env: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...], problems: list[str]) -> str:
    value = env.get(name) or default
    if value not in allowed:
        problems.append(f"{name}={value!r} is not one of {', '.join(allowed)}")
    return value


def _from_config_json(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise SettingsError(f"{path} must hold a JSON object with {', '.join(_CONFIG_KEYS.values())}")
    return {name: str(config.get(key) or "") for name, key in _CONFIG_KEYS.items()}
