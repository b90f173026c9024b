"""A run worker without the seconds of imports: to be forked from a server that has loaded this module already."""

import os
import sys
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg

from tests.graph_runs import Graph

IMPORTS = "tests.e2e.harness.worker_imports"
"""What such a server loads as well, after this module."""


def start(
    context: ForkServerContext, home: Path, recipe: Path, storage: Path, instance: Path, selection: str
) -> BaseProcess:
    """A process that materializes the selection with that recipe; exit code 0 if it succeeded."""
    process = context.Process(target=_materialize, args=(home, recipe, storage, instance, selection))
    process.start()
    return process


def _materialize(home: Path, recipe: Path, storage: Path, instance: Path, selection: str) -> None:
    # What it says is in the instance's event log.
    sink = os.open(instance / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    with dg.DagsterInstance.local_temp(str(instance)) as dagster_instance:
        result = Graph(home, recipe, storage, dagster_instance).materialize(selection)
    sys.exit(0 if result.success else 1)
