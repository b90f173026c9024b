"""The sensor that takes over jobs which finished while nobody watched."""

from typing import cast

import dagster as dg

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import patience
from phi_assets.azureml.training.finetune import finetune_request
from phi_assets.azureml.training.identity import JobRequest
from phi_assets.azureml.training.jobs import latest_attempt
from phi_assets.config.recipe import Recipe
from phi_assets.graph.automation.cursor import TICK_PATIENCE_SECONDS, Cursor
from phi_assets.graph.automation.history import active_run, data_version, last_materialization
from phi_assets.graph.resources.recipe import RecipeResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.refs import ComputeRef, ModelRef, Ref, SampleRef

FINETUNE_JOB = "finetune_job"
ADOPTED = [FINETUNE_JOB, "registered_model"]

_INPUTS: dict[str, type[Ref]] = {
    "foundation_model": ModelRef,
    "finetune_compute": ComputeRef,
    "sampled/train_sft": SampleRef,
    "sampled/validation_sft": SampleRef,
    "sampled/test_sft": SampleRef,
}


@dg.sensor(
    target=dg.AssetSelection.assets(*ADOPTED),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=300,
    description="Take over the Azure ML job that finished while nobody watched. Submits nothing.",
)
def orphaned_job_sensor(
    context: dg.SensorEvaluationContext, workspace: AzureMLWorkspace, recipe: RecipeResource
) -> dg.SensorResult:
    """`finetune_job` and `registered_model` are requested where a Completed job has not been recorded.

    The job is the one that the graph would reuse now: its name follows from the recipe and from the recorded values of
    the five inputs. So a job of an earlier recipe is never taken up, one whose run died before it could leave a trace
    in Dagster is, and no list of jobs is read however many there are. The run materializes none of the inputs, and the
    job is Completed and not without its model: nothing is submitted.
    """
    cursor = Cursor.of(context)
    missing = [asset for asset in _INPUTS if last_materialization(context.instance, asset) is None]
    if missing:
        return cursor.skip(f"{', '.join(missing)} has never been materialized, so there is no job to look for.")
    active = active_run(context.instance, [*_INPUTS, FINETUNE_JOB])
    if active is not None:
        return cursor.skip(f"Run {active.run_id} is materializing {FINETUNE_JOB} or what it depends on.")
    recorded = last_materialization(context.instance, FINETUNE_JOB)
    with patience(TICK_PATIENCE_SECONDS), workspace.session() as ws:
        _, job = latest_attempt(ws, _request(context, ws, recipe.value), context.log.info)
    if job is None or not job.is_success:
        return cursor.skip("Azure ML has no completed job for the recipe and the recorded inputs.")
    if recorded is not None and data_version(recorded) == job.name:
        return cursor.skip(f"Job {job.name} is recorded.")
    context.log.info(f"Job {job.name}: {job.studio_url}")
    return cursor.request(
        ADOPTED,
        evidence=job.name,
        reason=f"Job {job.name} is Completed, but {FINETUNE_JOB} has not been materialized from it.",
        # Its inputs may change until the run starts; a job that nobody asked for must not come of it.
        run_config={"ops": {FINETUNE_JOB: {"config": {"submit": False}}}},
    )


def _request(context: dg.SensorEvaluationContext, ws: Workspace, recipe: Recipe) -> JobRequest:
    repository = context.repository_def
    if repository is None:
        raise dg.DagsterInvariantViolationError("This sensor reads asset values, so it needs its code location.")
    with repository.get_asset_value_loader(context.instance) as loader:
        model, compute, train, validation, test = (
            loader.load_asset_value(dg.AssetKey(asset.split("/")), python_type=kind) for asset, kind in _INPUTS.items()
        )
    return finetune_request(
        ws,
        recipe,
        model=cast("ModelRef", model),
        compute=cast("ComputeRef", compute),
        train=cast("SampleRef", train),
        validation=cast("SampleRef", validation),
        test=cast("SampleRef", test),
        log=context.log.info,
    )
