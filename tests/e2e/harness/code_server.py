"""Dagster's code server, whose run workers are forked from a process that has done the seconds of imports already.

`python -m tests.e2e.harness.code_server api grpc ...` takes what `dagster` takes. A worker stays what it is under
Dagster's own server: a process for one run, that a signal ends and that nobody else's state is in.
"""

import multiprocessing
from multiprocessing import forkserver
from typing import Any

from dagster._cli import main
from dagster._grpc import server

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


if __name__ == "__main__":
    # How long a dead worker goes unnoticed.
    server.CLEANUP_TICK = 0.1
    server.DagsterApiServer = ForkingApiServer
    main()
