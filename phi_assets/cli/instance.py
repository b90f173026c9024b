"""Which Dagster instance the commands use, how its UI is opened, and where that shows their runs."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from phi_assets.config.settings import PROJECT_ROOT, emulator_home

if TYPE_CHECKING:
    import dagster as dg

_DEFINITIONS = "phi_assets.definitions"

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


@contextmanager
def open_instance(env: Mapping[str, str] = os.environ) -> Iterator["dg.DagsterInstance"]:
    """The instance of `DAGSTER_HOME`, with its tables: the first process makes them, and others wait meanwhile.

    Dagster makes those of SQLite without a lock, and all but one of several processes that find none fail (measured
    with 1.13.27). With PostgreSQL it tries again by itself.
    """
    import dagster as dg

    home = Path(env["DAGSTER_HOME"])
    # A folder that nobody may write to has no database in it.
    with FileLock(home / ".tables.lock") if os.access(home, os.W_OK) else nullcontext():
        instance = dg.DagsterInstance.get()
    with instance:
        yield instance


def where_runs_are_kept(instance: "dg.DagsterInstance") -> str:
    """The database of the instance's runs and events, without its password."""
    from sqlalchemy.engine import make_url

    url = getattr(instance.run_storage, "postgres_url", None)
    return f"SQLite in {instance.root_directory}" if url is None else str(make_url(url).set(query={}))


def ui_command(env: Mapping[str, str]) -> str:
    """What a person types in this folder to see the instance in Dagster's UI."""
    python = Path(os.path.relpath(sys.executable))
    home = Path(env["DAGSTER_HOME"])
    if _is_checkout() and Path.cwd() == PROJECT_ROOT:
        shown = "$PWD/.dagster" if home == PROJECT_ROOT / ".dagster" else home
        return f'DAGSTER_HOME="{shown}" {python.with_name("dg")} dev'
    return f'DAGSTER_HOME="{home}" {python.with_name("dagster")} dev -m {_DEFINITIONS}'


@contextmanager
def shown_with_its_job(instance: "dg.DagsterInstance", job: str, run_id: str) -> Iterator[Mapping[str, str]]:
    """Tags with which the run of the block is listed on its job's page; once it has ended, also on the timeline.

    Dagster knows where a run comes from only if it has launched it. From then on, whoever looks at the code location's
    runs finds it as well: sensors that tell of failures, and the button that runs it again.
    """
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=_DEFINITIONS)
    # As the repository's workspace.yaml and pyproject.toml name it, or Dagster a module.
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, "phi_assets" if _is_checkout() else _DEFINITIONS)
    repository = RemoteRepositoryOrigin(location, "__repository__")
    try:
        yield {REPOSITORY_LABEL_TAG: repository.get_label()}
    finally:
        if (run := instance.get_run_by_id(run_id)) is not None:
            instance.run_storage.replace_job_origin(run, RemoteJobOrigin(repository, job))


def _is_checkout() -> bool:
    return (PROJECT_ROOT / "workspace.yaml").exists()
