"""Dagster's code server, whose run workers are forked from a process that has done the seconds of imports already.

`python -m tests.e2e.harness.code_server api grpc ...` takes what `dagster` takes. A worker stays what it is under
Dagster's own server: a process for one run, that a signal ends and that nobody else's state is in.
"""

import multiprocessing
import os
from multiprocessing import forkserver
from typing import Any

import dagster as dg
from dagster._cli import main
from dagster._grpc import server

from tests import quick_sqlite

SENSOR_SECONDS_VARIABLE = "PHI_TEST_SENSOR_SECONDS"
"""The sensors' shortest interval, where it is not to be what they say themselves."""

# By name: here nobody needs what it imports.
_IMPORTS = "tests.e2e.harness.worker_imports"


class ForkingApiServer(server.DagsterApiServer):
    """A worker starts within milliseconds; everything else is Dagster's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_IMPORTS])
        # It imports while the code location is loaded here.
        forkserver.ensure_running()
        super().__init__(*arguments, **options)
        self._mp_ctx = context


def shorten_intervals(seconds: int) -> None:
    """The sensors of the code location, which this process has yet to load, tick so often."""
    original = dg.SensorDefinition.__init__

    def shortened(self: dg.SensorDefinition, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self._min_interval = seconds

    dg.SensorDefinition.__init__ = shortened  # type: ignore[method-assign]


if __name__ == "__main__":
    # How long a dead worker goes unnoticed.
    server.CLEANUP_TICK = 0.1
    if SENSOR_SECONDS_VARIABLE in os.environ:
        shorten_intervals(int(os.environ[SENSOR_SECONDS_VARIABLE]))
    server.DagsterApiServer = ForkingApiServer
    quick_sqlite.use()
    main()
