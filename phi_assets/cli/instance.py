"""Which Dagster instance the commands use, and how its UI is opened."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from phi_assets.config.settings import PROJECT_ROOT, emulator_home

_SHIPPED = Path(__file__).parents[1] / "dagster.yaml"


def ensure_dagster_home(env: Mapping[str, str]) -> Path:
    """The folder of the instance exists: `DAGSTER_HOME`, or `.dagster` of a checkout, or `$PHI_HOME/dagster`.

    The last one, for a package that is installed without its repository, is made with the settings that the graph
    relies on. A `dagster.yaml` that is there is left as it is.
    """
    if given := env.get("DAGSTER_HOME"):
        return Path(given)
    if _is_checkout():
        return PROJECT_ROOT / ".dagster"
    home = emulator_home(env) / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        partial = home / f".dagster.yaml.{os.getpid()}"
        partial.write_bytes(_SHIPPED.read_bytes())
        partial.rename(settings)
    return home


def ui_command(env: Mapping[str, str]) -> str:
    """What a person types in this folder to see the instance in Dagster's UI."""
    python = Path(os.path.relpath(sys.executable))
    home = Path(env["DAGSTER_HOME"])
    if _is_checkout() and Path.cwd() == PROJECT_ROOT:
        shown = "$PWD/.dagster" if home == PROJECT_ROOT / ".dagster" else home
        return f'DAGSTER_HOME="{shown}" {python.with_name("dg")} dev'
    return f'DAGSTER_HOME="{home}" {python.with_name("dagster")} dev -m phi_assets.definitions'


def _is_checkout() -> bool:
    return (PROJECT_ROOT / "workspace.yaml").exists()
