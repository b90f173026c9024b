"""How a step waits for its place in a pool: without a processor, not for the dead, and saying for whom."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.executor import in_process
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.executor.init import InitExecutorContext
from dagster._utils.interrupts import check_captured_interrupt

from phi_assets.graph.automation.dead_runs import end_dead_runs

_LOOK_SECONDS = 1.0
"""How soon a blocked run notices that somebody terminates it."""

_TELL_SECONDS = 60.0


class PatientConcurrencyContext(InstanceConcurrencyContext):
    """Dagster's own, but for its waiting.

    With granularity `op`, Dagster's asks the storage in a loop without a pause, and is deaf to signals meanwhile
    (`interval_to_next_pending_claim_check` never returns more than 0; measured with Dagster 1.13.27 and 1.13.28).
    """

    def __init__(self, instance: dg.DagsterInstance, dagster_run: dg.DagsterRun) -> None:
        super().__init__(instance, dagster_run)
        self._run = dagster_run
        self._told: dict[str, tuple[str, float]] = {}

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Whether the step has its place; where it has not, the run's log says who does.

        Raises:
            dagster.DagsterExecutionInterruptedError: the run is being terminated.
        """
        if check_captured_interrupt():
            raise dg.DagsterExecutionInterruptedError
        claimed = super().claim(concurrency_key, step_key, step_priority)
        if not claimed:
            self._tell(concurrency_key, step_key)
        return claimed

    def interval_to_next_pending_claim_check(self) -> float:
        """Seconds to sleep."""
        if not self._pending_claims:
            return 0.0
        next_look = min(self._pending_timeouts.values(), default=0.0) - time.time()
        return min(max(next_look, 0.0), _LOOK_SECONDS)

    def _tell(self, pool: str, step: str) -> None:
        before, when = self._told.get(step, ("", 0.0))
        if time.time() - when < _TELL_SECONDS:
            return
        # Whoever has died in its place gives it up now.
        end_dead_runs(self._instance)
        slots = self._instance.event_log_storage.get_concurrency_info(pool).claimed_slots
        holders = ", ".join(sorted({f"{slot.step_key} of run {slot.run_id}" for slot in slots})) or "nobody any more"
        self._told[step] = (holders, time.time())
        if holders != before:
            _say(self._instance, self._run, f"{step} waits for pool {pool}. In it is {holders}.")


def _say(instance: dg.DagsterInstance, run: dg.DagsterRun, text: str) -> None:
    instance.report_engine_event(text, run)
    for listener in _listeners:
        listener(text)


_listeners: list[Callable[[str], None]] = []


@contextmanager
def patient_pools(listener: Callable[[str], None] | None = None) -> Iterator[None]:
    """Runs that this process executes wait for their pools patiently; `listener` is told for whom."""
    original: Any = in_process.InstanceConcurrencyContext  # type: ignore[attr-defined]
    in_process.InstanceConcurrencyContext = PatientConcurrencyContext  # type: ignore[misc]
    if listener is not None:
        _listeners.append(listener)
    try:
        yield
    finally:
        in_process.InstanceConcurrencyContext = original  # type: ignore[misc]
        if listener is not None:
            _listeners.remove(listener)


class PatientExecutor(InProcessExecutor):
    """All steps of a run in one process, which sleeps while a step is blocked by a pool."""

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """The events of the steps, as they happen."""
        with patient_pools():
            yield from super().execute(plan_context, execution_plan)


@dg.executor(name="patient_in_process")
def patient_in_process_executor(init: InitExecutorContext) -> PatientExecutor:
    """Dagster's in-process executor, which waits for pools without using a processor.

    A step in its own process costs five to eight seconds of imports; nothing here needs the isolation.
    """
    from dagster._core.execution.retries import RetryMode

    return PatientExecutor(retries=RetryMode.ENABLED)
