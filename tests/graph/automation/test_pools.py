"""Runs that wait for a pool: without a processor, deaf to nobody, and not for the dead."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from phi_assets.graph.automation.dead_runs import PROCESS_TAG
from phi_assets.graph.automation.pools import patient_in_process_executor, patient_pools
from phi_assets.processes import this_process
from tests.e2e.harness import template
from tests.e2e.harness.processes import until

POOL = "endpoint_mine"
SETTINGS = {"concurrency": {"pools": {"granularity": "op", "default_limit": 1}}}
SECONDS = 2.0


@dg.asset(pool=POOL)
def writes() -> None: ...


job: Any = dg.Definitions(
    assets=[writes], jobs=[dg.define_asset_job("writing", executor_def=patient_in_process_executor)]
).resolve_job_def("writing")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=SETTINGS) as instance:
        yield instance


def hold(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    """A run that has the only place in the pool."""
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.event_log_storage.initialize_concurrency_limit_to_default(POOL)
    assert instance.event_log_storage.claim_concurrency_slot(POOL, run.run_id, "writes").is_claimed
    return run


def said(instance: dg.DagsterInstance, other: str) -> str | None:
    runs = [run for run in instance.get_runs() if run.run_id != other]
    entries = [entry.message for run in runs for entry in instance.all_logs(run.run_id)]
    return next((message for message in entries if "waits for pool" in message), None)


def test_a_blocked_run_sleeps_and_says_who_has_its_place(instance: dg.DagsterInstance) -> None:
    holder = hold(instance, **{PROCESS_TAG: "another machine's"})
    lines: list[str] = []
    results: list[bool] = []

    def blocked() -> None:
        with patient_pools(lines.append):
            results.append(job.execute_in_process(instance=instance).success)

    thread = threading.Thread(target=blocked)
    thread.start()
    expected = f"writes waits for pool {POOL}. In it is writes of run {holder.run_id}."
    assert until(lambda: said(instance, holder.run_id), 30, "Nothing is said") == expected
    time.sleep(0.5)
    before = time.process_time()
    time.sleep(SECONDS)
    used = time.process_time() - before
    instance.event_log_storage.free_concurrency_slots_for_run(holder.run_id)
    thread.join(60)
    assert results == [True]
    assert lines == [expected]
    # Of one core: it looks once a second whether somebody ends it.
    assert used / SECONDS < 0.05


def test_nobody_waits_for_the_dead(instance: dg.DagsterInstance) -> None:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    gone = this_process().replace(str(os.getpid()), str(process.pid), 1)
    process.kill()
    process.join()
    holder = hold(instance)
    instance.add_run_tags(holder.run_id, {PROCESS_TAG: f"{holder.run_id}/{gone}"})
    with patient_pools():
        assert job.execute_in_process(instance=instance).success
    ended = instance.get_run_by_id(holder.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE


def _blocked(folder: str) -> None:
    with dg.DagsterInstance.local_temp(folder, overrides=SETTINGS) as instance, patient_pools():
        job.execute_in_process(instance=instance, raise_on_error=False)


def test_a_blocked_run_can_be_ended(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    holder = hold(instance)
    template.serve_forks()
    process = multiprocessing.get_context("forkserver").Process(target=_blocked, args=(str(tmp_path),))
    process.start()
    try:
        until(lambda: said(instance, holder.run_id), 60, "The run is not blocked")
        os.kill(int(str(process.pid)), signal.SIGTERM)
        process.join(20)
        assert not psutil.pid_exists(int(str(process.pid)))
    finally:
        process.kill()
    (run,) = [run for run in instance.get_runs() if run.run_id != holder.run_id]
    assert run.status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)
    info = instance.event_log_storage.get_concurrency_info(POOL)
    assert info.active_run_ids == {holder.run_id}
    assert {step.run_id for step in info.pending_steps} <= {holder.run_id}
