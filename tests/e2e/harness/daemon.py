"""Dagster's daemon, which looks for queued runs several times a second, and every second for sensors that are due.

It is forked by `template`; `python -m tests.e2e.harness.daemon run ...` is one that is not. Both take what
`dagster-daemon` takes. What it then does is Dagster's. Crashed runs are looked for as often as Dagster can be told to,
not more often: it overlooks one that it comes upon in the moment between the event of its failure and its status.
"""

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


def run() -> None:
    """The program."""
    QueuedRunCoordinatorDaemon.core_loop = look_often
    asset_daemon.MIN_INTERVAL_LOOP_SECONDS = _SENSOR_LOOP_SECONDS
    sensor.MIN_INTERVAL_LOOP_TIME = _SENSOR_LOOP_SECONDS
    quick_sqlite.use()
    quick_postgres.use()
    main()


if __name__ == "__main__":
    run()
