"""Dagster's code server, whose run workers are forked from a process that has done the seconds of imports already.

It has done them for both: that process is a fork of the server.

`python -m tests.e2e.harness.code_server api grpc ...` takes what `dagster` takes. A worker stays what it is under
Dagster's own server: a process for one run, that a signal ends and that nobody else's state is in.
"""

import multiprocessing
import os
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import forkserver
from typing import Any

import dagster as dg
from dagster._cli import main
from dagster._core.execution import compute_logs
from dagster._grpc import server

from tests import quick_postgres, quick_sqlite

SENSOR_SECONDS_VARIABLE = "PHI_TEST_SENSOR_SECONDS"
"""The sensors' shortest interval, where it is not to be what they say themselves."""

NO_WORKERS_VARIABLE = "PHI_TEST_NO_WORKERS"
"""There where runs are made and none is started: then nothing is imported for workers."""

# By name: here nobody needs what it imports.
_IMPORTS = ["tests.e2e.harness.worker_imports", "tests.quick_postgres"]


class ForkingApiServer(server.DagsterApiServer):
    """A worker starts within milliseconds; everything else is Dagster's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTS)
        if NO_WORKERS_VARIABLE not in os.environ:
            # It imports while the code location is loaded here.
            forkserver.ensure_running()
        super().__init__(*arguments, **options)
        context: Any = multiprocessing.get_context("forkserver")
        self._mp_ctx = context


def fork_server() -> None:
    """From now on workers are forked from a fork of this process, which must not have a thread yet."""
    resource_tracker.ensure_running()
    start, util.spawnv_passfds = util.spawnv_passfds, _serve_forks
    forkserver.ensure_running()
    util.spawnv_passfds = start


def _serve_forks(_: object, __: object, fds: list[int]) -> int:
    """In place of a new interpreter, which would have to import everything once more."""
    pid = os.fork()
    if pid:
        return pid
    listener, alive = fds
    # The other end of `alive`, which is closed when nobody needs the server, is among what is closed.
    for low, high in pairwise([2, *sorted(fds), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(low + 1, high)
    try:
        forkserver.main(listener, alive, [])
    finally:
        os._exit(0)


def shorten_intervals(seconds: int) -> None:
    """The sensors of the code location, which this process has yet to load, tick so often."""
    original = dg.SensorDefinition.__init__

    def shortened(self: dg.SensorDefinition, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self._min_interval = seconds

    dg.SensorDefinition.__init__ = shortened  # type: ignore[method-assign]


def not_repeated(path: str, stream: Any) -> AbstractContextManager[tuple[None, None]]:
    """In place of the four processes that repeat in the server's log what a run has printed into its files."""
    return nullcontext((None, None))


if __name__ == "__mp_main__":
    # In a worker.
    compute_logs.tail_to_stream = not_repeated
    quick_postgres.use()
if __name__ == "__main__":
    # How long a dead worker goes unnoticed.
    server.CLEANUP_TICK = 0.1
    if SENSOR_SECONDS_VARIABLE in os.environ:
        shorten_intervals(int(os.environ[SENSOR_SECONDS_VARIABLE]))
    server.DagsterApiServer = ForkingApiServer
    import_module(_IMPORTS)
    fork_server()
    main()
