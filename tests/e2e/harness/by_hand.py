"""Dagster as it is deployed, but for its webserver and daemon: what these would do is done here, by the same code."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.daemon import IntervalDaemon, MonitoringDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from tests.e2e.harness.dagster_process import LOCATION, DagsterProcess
from tests.e2e.harness.graphql import GraphQL, GraphQLError
from tests.e2e.harness.processes import until

_PARTS: tuple[type[IntervalDaemon[Any]], ...] = (QueuedRunCoordinatorDaemon, EventLogConsumerDaemon, MonitoringDaemon)
_SECONDS = 1
"""How often they look at the runs while something is waited for that is not theirs to do."""
_QUEUED_SECONDS = 60
_STARTED_SECONDS = 120


@dataclass(frozen=True)
class DirectGraphQL(GraphQL):
    """The webserver's schema, asked without a webserver; `url` is the one that it would have."""

    context: WorkspaceProcessContext
    schema: Any

    def query(self, graphql: str, **variables: Any) -> dict[str, Any]:
        """The `data` of the answer.

        Raises:
            GraphQLError: the query is not valid.
        """
        request = self.context.create_request_context()
        answer = asyncio.run(self.schema.execute_async(graphql, context_value=request, variable_values=variables))
        if answer.errors:
            raise GraphQLError(f"GraphQL refused: {answer.errors}")
        return answer.data


class DagsterByHand(DagsterProcess):
    """Only the code server is a process, and each run has its own, which it starts and whose death it notices.

    What is asked of the webserver is asked of its schema. What the daemon does with runs (it starts those that are
    queued, starts crashed ones again, frees their slots) is done by the daemon's own code whenever something is waited
    for: nobody polls while nothing happens, and two processes need not start.
    """

    def _start_servers(self) -> None:
        from dagster_graphql.schema import create_schema

        target = GrpcServerTarget(host="127.0.0.1", port=self.code_port, socket=None, location_name=LOCATION)
        self._context = WorkspaceProcessContext(self.instance, target)
        self.graphql = DirectGraphQL(self.graphql.url, self._context, create_schema())
        self._parts = [part(interval_seconds=0) for part in _PARTS]
        self._look_again = 0.0
        self._has_daemon = False
        assert self.graphql.is_loaded()
        # From its first look on the daemon knows what is new.
        self.tend()

    def __exit__(self, *exception: object) -> None:
        for part in self._parts:
            part.__exit__(*exception)
        self._context.__exit__(*exception)
        super().__exit__(*exception)

    def tend(self) -> None:
        """The daemon has looked at the runs, if it is time for it."""
        if self._has_daemon or time.monotonic() < self._look_again:
            return
        for part in self._parts:
            errors = [said for said in part.run_iteration(self._context) if said is not None]
            assert errors == [], errors
        self._look_again = time.monotonic() + _SECONDS

    def launch(self, *what: Any, **options: Any) -> str:
        """As ever; the run does not wait in the queue."""
        run_id = super().launch(*what, **options)
        return self._dequeued(run_id)

    def retry_of(self, run_id: str) -> str:
        """As ever; the run does not wait in the queue."""
        self._look_again = 0
        return self._dequeued(super().retry_of(run_id))

    def _dequeued(self, run_id: str) -> str:
        waiting = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED)
        self._look_again = 0
        self.until(lambda: self.status(run_id) not in waiting or None, _QUEUED_SECONDS, f"Run {run_id} is not started")
        return run_id

    @contextmanager
    def real_daemon(self) -> Iterator[None]:
        """Inside, a daemon is there, a process as elsewhere, and nothing is done by hand."""
        self.start_daemon()
        self._has_daemon = True
        try:
            yield
        finally:
            self.stop_daemon()
            self._has_daemon = False

    @contextmanager
    def real_webserver(self) -> Iterator[None]:
        """Inside, the UI is there, at `url`."""
        self.start_webserver()
        try:
            until(lambda: GraphQL(self.url).is_loaded() or None, _STARTED_SECONDS, "The webserver is not ready")
            yield
        finally:
            self.stop_webserver()
