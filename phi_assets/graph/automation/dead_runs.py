"""Runs whose process has died and reported nothing: they are marked as failed, and hold nothing any more."""

from collections.abc import Mapping

import dagster as dg

from phi_assets.processes import is_gone, this_process

PROCESS_TAG = "phi/process"
"""Run tag that names the run, as whoever is made from it inherits its tags, and the process that executes it."""

DEATH = "The process that executed the run has ended and reported nothing."

# A run of a command is made by the process that executes it, which may have died before it began.
_EXECUTING = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def process_tags(run_id: str) -> Mapping[str, str]:
    """The tags of a run that this process executes itself."""
    return {PROCESS_TAG: f"{run_id}/{this_process()}"}


def is_dead(run: dg.DagsterRun) -> bool | None:
    """Whether the process that executes the run has ended; None where nobody can tell from here."""
    run_id, _, process = run.tags.get(PROCESS_TAG, "").partition("/")
    return is_gone(process) if run_id == run.run_id else None


def end_dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Those that are not ended although their process is: they are now failed, and their pool slots are free.

    What such a run did in Azure ML goes on. The next run finds it by its name.
    """
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=_EXECUTING)) if is_dead(run)]
    for run in dead:
        instance.report_run_failed(run, DEATH)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return dead
