"""The sensor that looks after all jobs which no run waits for."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg

from phi_assets.azureml.compute.condition import cluster_conditions
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import patience
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.training.cancelling import of_others, request_cancellation
from phi_assets.azureml.training.live.limits import Limits
from phi_assets.azureml.training.live.states import NOT_STARTED, JobState, Survey, survey
from phi_assets.azureml.training.lookup import get_job
from phi_assets.graph.automation.cursor import REASON_TAG, TICK_PATIENCE_SECONDS
from phi_assets.graph.lineage import LABEL, Lineage
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.training.detached import (
    TAKES_UP_TAG,
    DetachedJob,
    assets_to_take_up,
    detached_jobs,
    taken_up_unnoticed,
)

_CHANGES_PER_TICK = 10
"""Jobs of one tick that a request of their own is made for: cancellations, and names that run history does not have."""


def detached_jobs_sensor(lineages: Sequence[Lineage]) -> dg.SensorDefinition:
    """The sensor for the jobs of these recipes; one that is added to them later is looked after as well."""

    @dg.sensor(
        name="detached_jobs",
        target=dg.AssetSelection.tag(LABEL, "").downstream(),
        # Whoever leaves a job to itself relies on it; where nobody does, it asks for nothing.
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Look after the jobs that no run waits for: say how they stand, cancel those whose time is over, "
        "and start the run that takes up one that has ended.",
    )
    def sensor(context: dg.SensorEvaluationContext, azureml: AzureMLWorkspace) -> dg.SensorResult:
        """Each job that has ended is taken up by one run, whose success or failure is the job's.

        The number of requests grows with the experiments and not with the jobs. What is asked for follows from the
        instance and the service alone, and the run key is the job's name: a tick that is repeated asks for the same.
        """
        known = {lineage.name: lineage for lineage in lineages}
        jobs = [job for job in detached_jobs(context.instance) if job.recipe in known]
        if not jobs:
            return dg.SensorResult(skip_reason="No job is waited for.")
        with patience(TICK_PATIENCE_SECONDS), azureml.session() as ws:
            watch = _Watch(context, ws, known, jobs)
            wanted = [(job, request) for job in jobs if (request := watch.look(job)) is not None]
        found = taken_up_unnoticed(context.instance, [job for job, _ in wanted]) if wanted else set()
        requests = [request for job, request in wanted if job.name not in found]
        return dg.SensorResult(run_requests=requests, skip_reason=None if requests else watch.in_words)

    return sensor


class _Watch:
    """One tick: all jobs, as the service has them at its beginning."""

    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        ws: Workspace,
        lineages: Mapping[str, Lineage],
        jobs: list[DetachedJob],
    ) -> None:
        self._context = context
        self._ws = ws
        self._lineages = lineages
        self._survey: Survey = survey(ws, _by_experiment(jobs), context.log.info)
        self._now: datetime | None = ws.clock.now()
        self._changes_left = _CHANGES_PER_TICK
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._clusters = self._conditions(jobs)

    @property
    def in_words(self) -> str:
        """How many jobs there are in each state."""
        return ", ".join(f"{count} {state}" for state, count in sorted(self._counts.items())) + "."

    def look(self, job: DetachedJob) -> dg.RunRequest | None:
        """Says how the job stands and ends it if its time is over; the run that takes it up if it has ended."""
        state = self._survey.states.get(job.name)
        if state is None:
            return self._look_for(job)
        self._counts[str(state.service_status)] += 1
        self._say(job, f"is {state.in_words(self._now)}: {self._ws.studio_url(job.name)}")
        if state.status.is_terminal:
            return self._take_up(job, f"Job {job.name} is {state.status}.")
        if state.status is not JobStatus.CANCEL_REQUESTED:
            return self._end_in_time(job, state)
        return None

    def _look_for(self, job: DetachedJob) -> dg.RunRequest | None:
        """For a job that is not in the answers of run history."""
        self._counts["unknown"] += 1
        if (why := self._survey.unknown.get(job.name)) is not None:
            self._say(job, f"cannot be seen ({why}); it may be running, and billing")
        elif self._may_ask() and get_job(self._ws, job.name, self._context.log.info) is None:
            return self._take_up(job, f"Job {job.name} has been deleted.")
        else:
            self._say(job, "is not in run history yet")
        return None

    def _conditions(self, jobs: list[DetachedJob]) -> Mapping[str, str]:
        """How the clusters are that jobs wait for; said once, however many jobs it is."""
        states = self._survey.states
        waiting = [job for job in jobs if job.name in states and states[job.name].waits_for_node]
        names = sorted({self._lineages[job.recipe].recipe.compute.name for job in waiting})
        found = cluster_conditions(self._ws, names, self._context.log.info) if names else {}
        for condition in found.values():
            self._context.log.info(f"{condition.in_words}.")
        return {name: condition.in_words for name, condition in found.items()}

    def _end_in_time(self, job: DetachedJob, state: JobState) -> dg.RunRequest | None:
        """One whose time is over has been cancelled; the run that fails because of it, where it is somebody else's."""
        recipe = self._lineages[job.recipe].recipe
        limits, condition = Limits.of(recipe.finetune), self._clusters.get(recipe.compute.name, NOT_STARTED)
        over = state.exceeded(limits, self._ws.studio_url(job.name), self._now, condition)
        if over is None or not self._may_ask():
            return None
        made = get_job(self._ws, job.name, self._context.log.info)
        if made is not None and (theirs := of_others(made.tags, self._ws.owner(recipe.name))):
            return self._take_up(job, f"The time that recipe {job.recipe} has for job {job.name} is over. It {theirs}.")
        self._context.log.warning(str(over))
        request_cancellation(self._ws, job.name, self._context.log.info)
        return None

    def _take_up(self, job: DetachedJob, reason: str) -> dg.RunRequest | None:
        repository = self._context.repository_def
        if repository is None:
            raise dg.DagsterInvariantViolationError("This sensor asks for assets, so it needs its code location.")
        if (run := job.unended_run) is not None:
            self._say(job, f"is taken up once run {run.run_id}, which has left it, has ended")
            return None
        node = repository.assets_defs_by_key[job.asset].node_def.name
        return dg.RunRequest(
            run_key=job.name,
            asset_selection=assets_to_take_up(self._context.instance, job, repository),
            tags={**self._lineages[job.recipe].run_tags, TAKES_UP_TAG: job.name, REASON_TAG: reason},
            run_config={"ops": {node: {"config": {"take_up": job.name}}}},
        )

    def _may_ask(self) -> bool:
        self._changes_left -= 1
        return self._changes_left >= 0

    def _say(self, job: DetachedJob, words: str) -> None:
        self._context.log.info(f"{job.recipe}: job {job.name} {words}.")


def _by_experiment(jobs: list[DetachedJob]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for job in jobs:
        found[job.experiment].append(job.name)
    return dict(found)
