"""Dagster's code server, whose run workers are forked from a process that has done the seconds of imports already.

It is forked itself by `template`; `python -m tests.e2e.harness.code_server api grpc ...` is one that is not. Both take
what `dagster` takes. A worker stays what it is under Dagster's own server: a process for one run, that a signal ends
and that nobody else's state is in.
"""

import gc
import multiprocessing
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._cli import main
from dagster._core.execution import compute_logs
from dagster._grpc import server
from dagster._grpc.impl import start_run_in_subprocess

from phi_assets.config.recipe_files import load_recipe
from tests import quick_postgres, quick_sqlite

SENSOR_SECONDS_VARIABLE = "PHI_TEST_SENSOR_SECONDS"
"""The sensors' shortest interval, where it is not to be what they say themselves."""

# By name: here nobody needs what it imports.
_IMPORTS = ["tests.e2e.harness.worker_imports", "tests.quick_postgres"]


class ForkingApiServer(server.DagsterApiServer):
    """A worker starts within milliseconds; everything else is Dagster's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # From here on nobody is forked of this process.
        quick_postgres.use()
        context: Any = multiprocessing.get_context("forkserver")
        self._mp_ctx = context


def shorten_intervals(seconds: int) -> None:
    """All sensors tick so often, also those that had been made when this process was forked."""
    dg.SensorDefinition.minimum_interval_seconds = property(lambda _: seconds)  # type: ignore[method-assign, assignment]


def not_repeated(path: str, stream: Any) -> AbstractContextManager[tuple[None, None]]:
    """In place of the four processes that repeat in the server's log what a run has printed into its files."""
    return nullcontext((None, None))


def start_run(*arguments: Any) -> None:
    """What a worker does."""
    compute_logs.tail_to_stream = not_repeated
    quick_postgres.use()
    if _recipes() != _loaded_recipes:
        load_recipe.cache_clear()
        sys.modules.pop("phi_assets.definitions", None)
    start_run_in_subprocess(*arguments)


def run() -> None:
    """The program, in a fork of a process that has the imports of both."""
    resource_tracker.ensure_running()
    dagsters: Any = server
    dagsters.LoadedRepositories = _LoadedRepositories
    _run()


_loaded_recipes: dict[str, bytes] = {}
"""The recipes whose definitions are here already, in a worker too."""


def _recipes() -> dict[str, bytes]:
    """By their files what they say now, but for what is shipped and what they extend."""
    files = [Path(name) for name in os.environ.get("PHI_RECIPE", "").split(",")]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


class _LoadedRepositories(server.LoadedRepositories):
    """Once there are definitions, the server of workers is forked, which so need not make them again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        _loaded_recipes.update(_recipes())
        super().__init__(*arguments, **options)
        original, util.spawnv_passfds = util.spawnv_passfds, _fork_the_server_of_workers
        forkserver.ensure_running()
        util.spawnv_passfds = original


def _fork_the_server_of_workers(_: object, __: object, fds: list[int]) -> int:
    """In place of a new interpreter, which would have to import everything once more."""
    pid = os.fork()
    if pid:
        return pid
    # The other end of one of them, which is closed when nobody needs the server, is among what is closed.
    for low, high in pairwise([2, *sorted(fds), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(low + 1, high)
    # Or each worker would look at, and so copy, what has been made since the imports.
    gc.freeze()
    try:
        forkserver.main(*fds, preload=[])
    finally:
        os._exit(0)


def _run() -> None:
    # How long a dead worker goes unnoticed.
    server.CLEANUP_TICK = 0.1
    dagsters: Any = server
    dagsters.start_run_in_subprocess = start_run
    dagsters.DagsterApiServer = ForkingApiServer
    if SENSOR_SECONDS_VARIABLE in os.environ:
        shorten_intervals(int(os.environ[SENSOR_SECONDS_VARIABLE]))
    quick_sqlite.use()
    main()


if __name__ == "__main__":
    multiprocessing.get_context("forkserver").set_forkserver_preload(_IMPORTS)
    # It imports while the code location is loaded here.
    forkserver.ensure_running()
    _run()
