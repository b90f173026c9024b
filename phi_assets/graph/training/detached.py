"""Jobs that no run waits for, as this Dagster instance remembers them: by the tags of the runs that left them.

Such a run is `waiting` until somebody has taken its job up: a run that carries the job's name, or the asset's newest
materialization. So nothing has to be kept elsewhere, and whoever is killed and looks again comes to the same.
"""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import dagster as dg

from phi_assets.graph.automation.conditions import DETACHED_TAG, WAITING
from phi_assets.graph.automation.history import data_version, has_ended, planned_assets
from phi_assets.graph.lineage import Lineage

TAKES_UP_TAG = "phi/takes_up"
"""Run tag with the name of the job that the run takes up."""

HOW_IT_GOES_ON = (
    "Once it has ended, the sensor detached_jobs starts the run that takes it up; it has to be switched on, and the "
    "daemon has to run. Without them, materialize finetune_job again then."
)

_STARTED_BY = frozenset({"dagster/sensor_name", "dagster/schedule_name", "dagster/from_automation_condition"})
"""Dagster's tags of a run that a tick has requested."""

_TRIES, _SETTLING_SECONDS = 5, 0.2

_OVER = "over"
"""Value of `DETACHED_TAG` once its jobs have been taken up."""
_JOB_TAG = "phi/detached.{}"
"""Run tag, made with the job's name. It names the run, as whoever is made from it inherits its tags."""


@dataclass(frozen=True)
class DetachedJob:
    """A job of Azure ML that has been left to itself."""

    name: str
    recipe: str
    """What people call it: `Lineage.name`."""
    asset: dg.AssetKey
    """That it will be materialized as."""
    experiment: str
    runs: tuple[dg.DagsterRun, ...]
    """Those that have left it, the newest first."""

    @property
    def unended_run(self) -> dg.DagsterRun | None:
        """A run that has left it and is still at something else."""
        return next((run for run in self.runs if not has_ended(run)), None)


def is_unattended(context: dg.AssetExecutionContext) -> bool:
    """Whether nobody has asked for this run: a sensor, a schedule or `phi_automation` has started it."""
    return not _STARTED_BY.isdisjoint(context.run.tags)


def leave(context: dg.AssetExecutionContext, name: str, lineage: Lineage) -> None:
    """The run of this step is known to have left the job to itself.

    Raises:
        dagster.Failure: its tags do not stay.
    """
    run_id = context.run.run_id
    tags = tags_of_leaver(run_id, name, context.asset_key, lineage)
    for _ in range(_TRIES):
        context.instance.add_run_tags(run_id, tags)
        # Another step may write tags at the same time, in another process; those of the last one stay.
        time.sleep(_SETTLING_SECONDS)
        run = context.instance.get_run_by_id(run_id)
        if run is not None and tags.items() <= run.tags.items():
            return
    raise dg.Failure(
        f"Job {name} goes on, and this run could not be marked as having left it. Materialize finetune_job again: it "
        "is found by its name.",
        allow_retries=False,
    )


def tags_of_leaver(run_id: str, name: str, asset: dg.AssetKey, lineage: Lineage) -> dict[str, str]:
    """The tags of a run that has left the job to itself."""
    experiment = lineage.recipe.finetune.experiment
    about = {"run": run_id, "recipe": lineage.name, "asset": asset.path, "experiment": experiment}
    return {DETACHED_TAG: WAITING, _JOB_TAG.format(name): json.dumps(about)}


def detached_jobs(instance: dg.DagsterInstance) -> list[DetachedJob]:
    """The jobs that nobody has taken up yet, the oldest first."""
    leavers = instance.get_runs(dg.RunsFilter(tags={DETACHED_TAG: WAITING}))
    jobs: dict[str, DetachedJob] = {}
    for run in leavers:
        for name, about in _left_by(run).items():
            runs = (*jobs[name].runs, run) if name in jobs else (run,)
            jobs[name] = DetachedJob(name, about["recipe"], dg.AssetKey(about["asset"]), about["experiment"], runs)
    taken_up = _taken_up(instance, jobs.values())
    _mark_over(instance, leavers, taken_up)
    return [job for name, job in reversed(jobs.items()) if name not in taken_up]


def taken_up_unnoticed(instance: dg.DagsterInstance, jobs: Collection[DetachedJob]) -> set[str]:
    """Names of the jobs that there is a run for after all; nobody waits for them any more.

    On PostgreSQL Dagster writes a run and the index of its tags one after the other, each for itself. Where the daemon
    was killed between the two, no search for tags finds the run. It takes all runs since the jobs were left to find it.
    """
    leavers = [run for job in jobs for run in job.runs]
    records = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id for run in leavers]))
    since = min((record.create_timestamp for record in records), default=None)
    runs = instance.get_runs(dg.RunsFilter(created_after=since))
    taken_up = {run.tags[TAKES_UP_TAG] for run in runs if TAKES_UP_TAG in run.tags}
    _mark_over(instance, leavers, taken_up)
    return taken_up & {job.name for job in jobs}


def assets_to_take_up(
    instance: dg.DagsterInstance, job: DetachedJob, repository: dg.RepositoryDefinition
) -> list[dg.AssetKey]:
    """The job's asset, and what the runs that left it were to make of it.

    Of a run that has not succeeded, only the asset itself: whoever starts that run again finds the job.
    """
    below = dg.AssetSelection.assets(job.asset).downstream().resolve(repository.asset_graph)
    wanted = {job.asset}
    for run in job.runs:
        if run.status is dg.DagsterRunStatus.SUCCESS:
            wanted |= below & planned_assets(instance, run.run_id)
    return sorted(wanted)


def _left_by(run: dg.DagsterRun) -> Mapping[str, dict[str, Any]]:
    """What the run has said of each job that it has left, by the jobs' names."""
    prefix = _JOB_TAG.format("")
    said = {key.removeprefix(prefix): json.loads(text) for key, text in run.tags.items() if key.startswith(prefix)}
    return {name: about for name, about in said.items() if about["run"] == run.run_id}


def _mark_over(instance: dg.DagsterInstance, leavers: Iterable[dg.DagsterRun], taken_up: Set[str]) -> None:
    """Those that have left nothing else to itself are not asked about again."""
    for run in leavers:
        if has_ended(run) and _left_by(run).keys() <= taken_up:
            instance.add_run_tags(run.run_id, {DETACHED_TAG: _OVER})


def _taken_up(instance: dg.DagsterInstance, jobs: Collection[DetachedJob]) -> set[str]:
    """Names of those that there is a run for, or that their asset was materialized from last."""
    if not jobs:
        return set()
    runs = instance.get_runs(dg.RunsFilter(tags={TAKES_UP_TAG: [job.name for job in jobs]}))
    events = [instance.get_latest_materialization_event(asset) for asset in {job.asset for job in jobs}]
    recorded = {data_version(event) for event in events if event is not None}
    return {run.tags[TAKES_UP_TAG] for run in runs} | {job.name for job in jobs if job.name in recorded}
