"""Dagster's daemon, which looks for queued runs several times a second, and every second for sensors that are due.

`python -m tests.e2e.harness.daemon` forks one for each line that it reads: a list of what `dagster-daemon` takes, as
JSON. It answers with the daemon's process id. What the daemon then does is Dagster's. Crashed runs are looked for as
often as Dagster can be told to, not more often: it overlooks one that it comes upon in the moment between the event of
its failure and its status.
"""

import gc
import json
import os
import signal
import sys
import traceback
from threading import Event
from typing import Any

from dagster._daemon import asset_daemon, sensor
from dagster._daemon.cli import main
from dagster._daemon.daemon import IntervalDaemon, SpanMarker
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from tests import quick_postgres, quick_sqlite

_QUEUE_SECONDS = 0.2
_SENSOR_LOOP_SECONDS = 1


def look_often(self: IntervalDaemon[Any], workspace_process_context: Any, shutdown_event: Event) -> Any:
    """The daemon's loop, with a shorter time between two looks than can be configured."""
    self.interval_seconds = 0
    for said in IntervalDaemon.core_loop(self, workspace_process_context, shutdown_event):
        if said is SpanMarker.END_SPAN:
            shutdown_event.wait(_QUEUE_SECONDS)
        yield said


def become_a_daemon(arguments: list[str]) -> None:
    """Does not return. What the daemon prints is in the log."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    quick_postgres.use()
    code: Any = 1
    try:
        sys.argv = ["dagster-daemon", *arguments]
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    QueuedRunCoordinatorDaemon.core_loop = look_often
    asset_daemon.MIN_INTERVAL_LOOP_SECONDS = _SENSOR_LOOP_SECONDS
    sensor.MIN_INTERVAL_LOOP_TIME = _SENSOR_LOOP_SECONDS
    quick_sqlite.use()
    gc.freeze()
    # Nobody waits for them here.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            become_a_daemon(json.loads(line))
        print(pid, flush=True)
