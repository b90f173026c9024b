"""Launching runs on this machine, and noticing when their processes are gone."""

import json

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

from phi_assets.graph.automation.dead_runs import DEATH, is_dead
from phi_assets.processes import CLOCK_TOLERANCE_SECONDS, born_at, listens_out_of_sight

_SERVER_TAG = ".dagster/grpc_info"
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, whose runs end as failures when their process has ended and reported nothing.

    A code server reports workers that die under it. When it died with them, as when the machine is switched off, the
    run would stay STARTED and keep its pool slot
    (https://github.com/dagster-io/dagster/issues/4319). With this launcher `run_monitoring` marks it failed within its
    poll interval, and `run_retries` starts it again. Workers that outlive their code server are left alone, and so are
    those of a code server on another machine or in another container, whose processes cannot be seen from here.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: `run_monitoring` asks."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process that executes the run is there: as it named itself, or as it recorded its number."""
        gone = is_dead(run)
        if gone is not None:
            return (
                CheckRunHealthResult(WorkerStatus.FAILED, DEATH) if gone else CheckRunHealthResult(WorkerStatus.RUNNING)
            )
        server = json.loads(run.tags.get(_SERVER_TAG, "{}"))
        if server.get("host") not in _THIS_MACHINE:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "The run's process is on another machine.")
        started = self._start_event(run)
        if started is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "The run's process has not reported its process id yet.")
        pid, time = started
        born = born_at(pid)
        # Whoever has the number now may be younger than the run.
        if born is not None and born <= time + CLOCK_TOLERANCE_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        # There it has another number, and its code server, which is alive, reports it if it dies.
        if "port" in server and listens_out_of_sight(server["port"]):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "The run's process is in another container.")
        return CheckRunHealthResult(WorkerStatus.FAILED, f"Process {pid} of the run is gone.")

    def _start_event(self, run: dg.DagsterRun) -> tuple[int, float] | None:
        """Number of the run's process, and when it recorded it."""
        for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            event = entry.dagster_event
            pid = event.engine_event_data.metadata.get("pid") if event else None
            if pid is not None:
                return int(str(pid.value)), entry.timestamp
        return None
