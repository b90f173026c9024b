"""A run worker without the seconds of imports: forked from a process that has done them already."""

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg

from tests.e2e.harness import template
from tests.graph_runs import Graph


def start(home: Path, recipe: Path, storage: Path, instance: Path, selection: str) -> BaseProcess:
    """A process that materializes the selection with that recipe; exit code 0 if it succeeded."""
    template.serve_forks()
    context = multiprocessing.get_context("forkserver")
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
