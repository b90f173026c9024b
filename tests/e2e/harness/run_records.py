"""What a Dagster instance has recorded about its runs."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import dagster as dg

from phi_assets.graph.operations.assets import STILL_BILLING
from tests import quick_sqlite
from tests.e2e.harness.processes import POLL_SECONDS, until
from tests.toy_graph import key_of

quick_sqlite.use()

T = TypeVar("T")
S = dg.DagsterRunStatus
FINISHED = frozenset({S.SUCCESS, S.FAILURE, S.CANCELED})

_RUN_SECONDS = 120
_WILL_RETRY_TAG = "dagster/will_retry"
_PARENT_RUN_TAG = "dagster/parent_run_id"
_RETRIES_CURSOR = "EVENT_LOG_CONSUMER_CURSOR-PIPELINE_FAILURE"
_WORKER = re.compile(r"Started process for run \(pid: (\d+)\)")


class RunRecords:
    """Reads, and waits for, what the processes of an instance record."""

    instance: dg.DagsterInstance
    poll_seconds = POLL_SECONDS
    """How long it waits before it looks again."""

    def __init__(self) -> None:
        self._since = datetime.now(UTC)

    def tend(self) -> None:
        """Is called all the time while something is waited for."""

    def until(self, ask: Callable[[], T | None], timeout: float, complaint: str) -> T:
        """The first answer of `ask` that is not None.

        Raises:
            TimeoutError: there was none within `timeout` seconds; the message is the complaint.
        """

        def tended() -> T | None:
            self.tend()
            return ask()

        return until(tended, timeout, complaint, self.poll_seconds)

    def run(self, run_id: str) -> dg.DagsterRun:
        """The run as it is recorded now."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None, f"There is no run {run_id}"
        return run

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """The run's status now."""
        return self.run(run_id).status

    def wait(self, run_id: str, *statuses: dg.DagsterRunStatus, timeout: float = _RUN_SECONDS) -> dg.DagsterRunStatus:
        """The run's status as soon as it is one of `statuses`, or any final one where none is given.

        Raises:
            TimeoutError: it was none of them within `timeout` seconds.
        """

        def reached() -> dg.DagsterRunStatus | None:
            status = self.status(run_id)
            return status if status in (statuses or FINISHED) else None

        return self.until(reached, timeout, f"Run {run_id} does not become {statuses or 'final'}")

    def look_away(self) -> None:
        """What has been recorded until now is not among `runs` and `materializations` any more.

        Nothing is deleted: SQLite would give its row ids again, and the daemon's cursors would miss what comes then.
        """
        self._since = datetime.now(UTC)

    def runs(self) -> list[dg.DagsterRun]:
        """All runs, newest first, without those that only list what is billing."""
        found = self.instance.get_runs(dg.RunsFilter(created_after=self._since))
        return [run for run in found if run.asset_selection != {STILL_BILLING}]

    def retry(self, run_id: str) -> str | None:
        """Id of the run that followed this one, if one did."""
        found = self.instance.get_runs(dg.RunsFilter(tags={_PARENT_RUN_TAG: run_id}))
        return found[0].run_id if found else None

    def is_retried(self, run_id: str) -> bool:
        """What Dagster has decided about a run that failed.

        Raises:
            TimeoutError: it has not decided.
        """
        decision = self.until(
            lambda: self.run(run_id).tags.get(_WILL_RETRY_TAG), _RUN_SECONDS, f"{run_id} is undecided"
        )
        return decision != "false"

    def overlook(self) -> None:
        """Whatever has failed until now is dealt with in the eyes of the daemon, which must not be running."""
        newest = self.instance.event_log_storage.get_maximum_record_id()
        self.instance.daemon_cursor_storage.set_cursor_values({_RETRIES_CURSOR: str(newest)})

    def is_overlooked(self, run_id: str) -> bool:
        """Whether Dagster has decided to retry the run and never will.

        Its daemon may read the event of a failure before the run's status says so, and goes on to the next event
        (measured with Dagster 1.13.27; a related one: https://github.com/dagster-io/dagster/issues/33741).
        """
        if self.run(run_id).tags.get(_WILL_RETRY_TAG) != "true":
            return False
        read = self.instance.daemon_cursor_storage.get_cursor_values({_RETRIES_CURSOR}).get(_RETRIES_CURSOR)
        failures = self.instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=100).records
        of_run = [event.storage_id for event in failures if event.run_id == run_id]
        # The cursor is written once everything before it has been dealt with.
        return read is not None and bool(of_run) and int(read) >= max(of_run) and self.retry(run_id) is None

    def worker_pid(self, run_id: str, timeout: float = _RUN_SECONDS) -> int:
        """Process that executes, or executed, the run."""

        def pid() -> int | None:
            found = (_WORKER.search(entry.message) for entry in self.events(run_id))
            return next((int(match[1]) for match in found if match), None)

        return self.until(pid, timeout, f"Run {run_id} has no worker")

    def events(self, run_id: str) -> list[dg.EventLogEntry]:
        """What the run recorded, oldest first."""
        return list(self.instance.all_logs(run_id))

    def failures(self, run_id: str) -> list[str]:
        """What went wrong in a run: the reason of each failed step, and what the engine said about it."""
        messages = []
        for entry in self.events(run_id):
            event = entry.dagster_event
            if event is not None and event.is_step_failure:
                data = event.step_failure_data
                described = data.user_failure_data.description if data.user_failure_data else None
                messages.append(described or data.error_display_string)
            elif event is not None and (event.is_failure or event.is_engine_event):
                messages.append(entry.message)
        return messages

    def materializations(self, asset: str) -> list[dg.EventLogRecord]:
        """The asset's materializations, newest first."""
        wanted = dg.AssetRecordsFilter(key_of(asset), after_timestamp=self._since.timestamp())
        return list(self.instance.fetch_materializations(wanted, limit=100).records)

    def wait_for_message(self, run_id: str, text: str, timeout: float = _RUN_SECONDS) -> str:
        """The first message of the run that contains the text.

        Raises:
            TimeoutError: there was none within `timeout` seconds.
        """

        def message() -> str | None:
            return next((entry.message for entry in self.events(run_id) if text in entry.message), None)

        return self.until(message, timeout, f"Run {run_id} does not say {text!r}")

    def metadata(self, materialization: dg.EventLogRecord) -> dict[str, Any]:
        """Values of a materialization's metadata by their keys."""
        assert materialization.asset_materialization is not None
        return {key: value.value for key, value in materialization.asset_materialization.metadata.items()}

    def slots_in_use(self, pool: str) -> int:
        """Steps that hold a slot of the pool."""
        return self.instance.event_log_storage.get_concurrency_info(pool).active_slot_count
