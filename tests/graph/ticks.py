"""Sensors of the real graph, ticked as the daemon does it: one after the other, with the cursor of the last tick."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from phi_assets.graph.automation.cursor import Cursor
from tests.graph_runs import Graph, failure_message


@dataclass(frozen=True)
class Tick:
    """What came of a tick."""

    requests: Sequence[dg.RunRequest]
    skip: str | None
    seconds: float
    errors: Sequence[str] = ()
    """What went wrong while telling about runs; such errors do not end the tick."""

    @property
    def assets(self) -> set[str]:
        """Of all requested runs."""
        return {key.path[-1] for request in self.requests for key in request.asset_selection or ()}


@dataclass
class Ticker:
    """A sensor of a graph and its cursor."""

    graph: Graph
    name: str
    cursor: str | None = None

    @property
    def state(self) -> Cursor:
        """The cursor of the recipe, or data set, that the sensor looks after in this graph."""
        (state,) = json.loads(str(self.cursor)).values()
        return Cursor.model_validate(state)

    @state.setter
    def state(self, state: Cursor) -> None:
        names = {"hub_revision_sensor": self.graph.lineage.datasets[0].prefix}
        self.cursor = json.dumps({names.get(self.name, self.graph.lineage.name): state.model_dump()})

    def tick(self) -> Tick:
        """Evaluate the sensor; the cursor moves on unless it raises."""
        definitions = self.graph.definitions
        repository = definitions.get_repository_def()
        started = time.monotonic()
        with dg.build_sensor_context(
            instance=self.graph.instance,
            cursor=self.cursor,
            sensor_name=self.name,
            repository_def=repository,
            resources=dict(definitions.resources or {}),
        ) as context:
            found = repository.get_sensor_def(self.name).evaluate_tick(context)
        self.cursor = found.cursor
        errors = [reaction.error.to_string() for reaction in found.dagster_run_reactions or [] if reaction.error]
        return Tick(found.run_requests or [], found.skip_message, time.monotonic() - started, errors)

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Do what a tick has requested, as the daemon would."""
        job = self.graph.definitions.resolve_job_def(request.job_name or "__ASSET_JOB")
        return job.execute_in_process(
            instance=self.graph.instance,
            asset_selection=list(request.asset_selection or ()),
            tags=dict(request.tags),
            run_config=request.run_config,
            raise_on_error=False,
        )


def materialized(graph: Graph, selection: str) -> None:
    """The selected assets have been materialized for good."""
    result = graph.materialize(selection)
    assert result.success, failure_message(result)


def active_run(graph: Graph, job: str) -> dg.DagsterRun:
    """A run of the job that is being started."""
    return graph.instance.create_run_for_job(job_def=graph.job(job), status=dg.DagsterRunStatus.STARTING)
