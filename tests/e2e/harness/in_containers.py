"""Dagster whose code server and runs are containers of the image, with file systems of their own."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from docker.models.containers import Container

from phi_assets.config.settings import PROJECT_ROOT
from tests.e2e.harness.by_hand import DagsterByHand
from tests.e2e.harness.dagster_process import FAST_POLLS
from tests.e2e.harness.docker_engine import IMAGE, Engine
from tests.e2e.harness.processes import Program
from tests.postgres import USER, Database

SHIPPED = PROJECT_ROOT / "phi_assets" / "deploy" / "docker" / "dagster.yaml"
HOME = Path("/home/dagster/.phi")
"""PHI_HOME in a container."""

_OF_LAUNCHERS = ("DOCKER_HOST", "DAGSTER_DOCKER_NETWORK", "DAGSTER_CURRENT_IMAGE")


def variables_of(database: Database, engine: Engine, env: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the shipped instance works: every variable that it names, if only as an empty one."""
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return {
        **dict.fromkeys(shipped["run_launcher"]["config"]["env_vars"], ""),
        "DAGSTER_POSTGRES_HOST": "127.0.0.1",
        "DAGSTER_POSTGRES_PORT": str(database.port),
        "DAGSTER_POSTGRES_DB": database.name,
        "DAGSTER_POSTGRES_USER": USER,
        "DAGSTER_POSTGRES_PASSWORD": database.password,
        "DAGSTER_DOCKER_NETWORK": "host",
        "DAGSTER_CURRENT_IMAGE": IMAGE,
        "DOCKER_HOST": engine.url,
        **env,
    }


class DagsterInContainers(DagsterByHand):
    """The shipped instance; what webserver and daemon do is done here, which starts containers.

    `variables` are those of `variables_of`; this process has to have them too. `volumes` are those of runs and of the
    code server.
    """

    # A container takes seconds to start, and each look at PostgreSQL a process of it.
    poll_seconds = 0.5

    def __init__(self, directory: Path, engine: Engine, variables: Mapping[str, str], volumes: Sequence[str]) -> None:
        overrides: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
        launcher = overrides["run_launcher"]["config"]
        launcher["container_kwargs"]["volumes"] = [*volumes]
        launcher["env_vars"] += [name for name in variables if name not in {*launcher["env_vars"], *_OF_LAUNCHERS}]
        for section, values in FAST_POLLS.items():
            overrides[section] = {**overrides[section], **values}
        super().__init__(directory, variables, overrides)
        self._engine, self._volumes, self._variables = engine, volumes, variables

    def container(self, run_id: str) -> Container:
        """The one that executes the run."""
        return self._engine.container_of(self.run(run_id).tags)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        # Those of runs too, which are in no group of processes here.
        for container in self._engine.client.containers.list():
            container.kill()

    def _process(self, name: str, module: str, *arguments: str, group: int | None = None) -> Program:
        if name != "code-server":
            return super()._process(name, module, *arguments, group=group)
        docker = ["docker", "-H", self._engine.url, "run", "--rm", "--init", "--network", "host"]
        docker += [part for volume in self._volumes for part in ("-v", volume)]
        docker += [part for name in self._variables for part in ("-e", name)]
        with (self.directory / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                [*docker, IMAGE, "dagster", *arguments],
                env={**os.environ, **self._variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
