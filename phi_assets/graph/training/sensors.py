"""The sensor that takes over jobs which finished while nobody watched."""

from collections.abc import Sequence
from typing import cast

import dagster as dg

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import patience
from phi_assets.azureml.training.finetune import finetune_request
from phi_assets.azureml.training.identity import JobRequest
from phi_assets.azureml.training.jobs import latest_attempt
from phi_assets.graph.automation.cursor import TICK_PATIENCE_SECONDS, Cursor, Outcome, for_each
from phi_assets.graph.automation.history import active_run, data_version, last_materialization
from phi_assets.graph.lineage import ASSET_TAG, Lineage
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.training.assets import FINETUNE_JOB, JOB_INPUTS, REGISTERED_MODEL
from phi_assets.graph.training.detached import detached_jobs
from phi_assets.refs import ComputeRef, ModelRef, Ref, SampleRef

_ADOPTED = (FINETUNE_JOB, REGISTERED_MODEL)

_KINDS: dict[str, type[Ref]] = {
    "model": ModelRef,
    "compute": ComputeRef,
    "train": SampleRef,
    "validation": SampleRef,
    "test": SampleRef,
}


def orphaned_job_sensor(lineages: Sequence[Lineage]) -> dg.SensorDefinition:
    """The sensor for the jobs of these recipes; one that is added to them later is looked after as well."""

    @dg.sensor(
        name="orphaned_job_sensor",
        target=dg.AssetSelection.tag(ASSET_TAG, FINETUNE_JOB) | dg.AssetSelection.tag(ASSET_TAG, REGISTERED_MODEL),
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=300,
        description="Take over the Azure ML job that finished while nobody watched. Submits nothing.",
    )
    def orphaned_jobs(context: dg.SensorEvaluationContext, azureml: AzureMLWorkspace) -> dg.SensorResult:
        """`finetune_job` and `registered_model` are requested where a Completed job has not been recorded.

        The job is the one that the graph would reuse now: its name follows from the recipe and from the recorded values
        of the five inputs. So a job of an earlier recipe is never taken up, one whose run died before it could leave a
        trace in Dagster is, and no list of jobs is read however many there are. The run materializes none of the
        inputs, and the job is Completed and not without its model: nothing is submitted.
        """

        def look(lineage: Lineage, cursor: Cursor) -> Outcome:
            return _look(context, azureml, lineage, cursor)

        return for_each(context, {lineage.name: lineage for lineage in lineages}, look)

    return orphaned_jobs


def _look(context: dg.SensorEvaluationContext, azureml: AzureMLWorkspace, lineage: Lineage, cursor: Cursor) -> Outcome:
    instance, job_key = context.instance, lineage.key(FINETUNE_JOB)
    missing = [asset for asset in JOB_INPUTS.values() if last_materialization(instance, lineage.key(asset)) is None]
    if missing:
        return cursor.skip(f"{', '.join(missing)} has never been materialized, so there is no job to look for.")
    active = active_run(instance, lineage.keys(*JOB_INPUTS.values(), FINETUNE_JOB))
    if active is not None:
        return cursor.skip(f"Run {active.run_id} is materializing {FINETUNE_JOB} or what it depends on.")
    recorded = last_materialization(instance, job_key)
    detached = {job.name for job in detached_jobs(instance)}
    with patience(TICK_PATIENCE_SECONDS), azureml.session() as ws:
        _, job = latest_attempt(ws, _request(context, ws, lineage), context.log.info)
    if job is None or not job.is_success:
        return cursor.skip("Azure ML has no completed job for the recipe and the recorded inputs.")
    if recorded is not None and data_version(recorded) == job.name:
        return cursor.skip(f"Job {job.name} is recorded.")
    if job.name in detached:
        return cursor.skip(f"Job {job.name} was left to itself; the sensor detached_jobs takes it up.")
    context.log.info(f"Job {job.name}: {job.studio_url}")
    return cursor.request(
        lineage.keys(*_ADOPTED),
        evidence=job.name,
        reason=f"Job {job.name} is Completed, but {FINETUNE_JOB} has not been materialized from it.",
        # Its inputs may change until the run starts; a job that nobody asked for must not come of it.
        run_config={"ops": {lineage.node(FINETUNE_JOB): {"config": {"submit": False}}}},
        tags=lineage.run_tags,
    )


def _request(context: dg.SensorEvaluationContext, ws: Workspace, lineage: Lineage) -> JobRequest:
    repository = context.repository_def
    if repository is None:
        raise dg.DagsterInvariantViolationError("This sensor reads asset values, so it needs its code location.")
    with repository.get_asset_value_loader(context.instance) as loader:
        model, compute, train, validation, test = (
            loader.load_asset_value(lineage.key(JOB_INPUTS[name]), python_type=kind) for name, kind in _KINDS.items()
        )
    return finetune_request(
        ws,
        lineage.recipe,
        model=cast("ModelRef", model),
        compute=cast("ComputeRef", compute),
        train=cast("SampleRef", train),
        validation=cast("SampleRef", validation),
        test=cast("SampleRef", test),
        log=context.log.info,
    )
