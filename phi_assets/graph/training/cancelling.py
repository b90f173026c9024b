"""The job that ends jobs which no run waits for."""

import dagster as dg
from pydantic import Field

from phi_assets.azureml.training.cancelling import cancel_job, request_cancellation
from phi_assets.graph.automation.pools import patient_in_process_executor
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.training.detached import DetachedJob, detached_jobs


class CancelConfig(dg.Config):
    """Which jobs are cancelled."""

    jobs: list[str] = Field(default=[], description="Names of Azure ML jobs; the only one there is unless given")


@dg.op
def cancel_left_jobs(context: dg.OpExecutionContext, config: CancelConfig, azureml: AzureMLWorkspace) -> None:
    """The jobs have ended, cancelled now or by themselves before."""
    names = _chosen(detached_jobs(context.instance), config.jobs)
    with azureml.session() as ws:
        # All of them are told before any is waited for: each may take minutes.
        for name in names:
            request_cancellation(ws, name, context.log.info)
        ended = {name: str(cancel_job(ws, name, context.log.info)) for name in names}
    context.add_output_metadata(ended)


@dg.job(
    name="cancel_detached",
    executor_def=patient_in_process_executor,
    description="Cancel Azure ML jobs that no run waits for, and see them end. The run that takes such a job up fails, "
    "and says who has cancelled it.",
)
def cancel_detached() -> None:
    cancel_left_jobs()


def _chosen(jobs: list[DetachedJob], names: list[str]) -> list[str]:
    """The names of the jobs to cancel.

    Raises:
        dagster.Failure: it is not clear which, or no run has left one of that name.
    """
    there_are = [f"{job.name} ({job.recipe})" for job in jobs]
    known = {job.name for job in jobs}
    if strangers := [name for name in names if name not in known]:
        raise dg.Failure(
            f"No run has left {', '.join(strangers)} to itself. {_listing(there_are)}", allow_retries=False
        )
    if names:
        return names
    if len(jobs) != 1:
        raise dg.Failure(f"{_listing(there_are)} Name those to cancel in `jobs`.", allow_retries=False)
    return [jobs[0].name]


def _listing(there_are: list[str]) -> str:
    return f"Without a run that waits: {', '.join(there_are) or 'no job'}."
