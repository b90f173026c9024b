"""The fine-tuning job and the model that comes out of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from phi_assets.assets.common import AZUREML_POOL, OWNERS, reads
from phi_assets.azureml.client import Workspace
from phi_assets.azureml.finetune import ensure_finetune_job
from phi_assets.azureml.jobs import SubmittedJob, cancel_job
from phi_assets.azureml.models import ensure_registered_model
from phi_assets.metadata import job_metadata, registered_model_metadata, submitted_metadata
from phi_assets.refs import ComputeRef, JobRef, ModelRef, RegisteredModelRef, SampleRef
from phi_assets.resources.recipe import RecipeResource
from phi_assets.resources.workspace import AzureMLWorkspace

GROUP = "training"


class FinetuneConfig(dg.Config):
    """Launch-time choices of the fine-tuning job."""

    force: bool = Field(default=False, description="Submit a new job even where a completed one matches")


@dg.asset(
    group_name=GROUP,
    ins={"train": dg.AssetIn(["sampled", "train_sft"]), "test": dg.AssetIn(["sampled", "test_sft"])},
    kinds={"azureml", "pytorch"},
    owners=OWNERS,
    code_version="1",
    pool=AZUREML_POOL,
    metadata=reads("component", "finetune.parameters", "finetune.defaults"),
)
def finetune_job(
    context: dg.AssetExecutionContext,
    config: FinetuneConfig,
    train: SampleRef,
    test: SampleRef,
    foundation_model: ModelRef,
    finetune_compute: ComputeRef,
    workspace: AzureMLWorkspace,
    recipe: RecipeResource,
) -> dg.MaterializeResult[JobRef]:
    """A fine-tuning pipeline job is Completed in Azure ML and its `trained_model` output has been verified."""
    with workspace.session() as ws, cancelled_with_the_run(context, ws) as watch:

        def submitted(job: SubmittedJob) -> None:
            watch(job.name)
            context.log_event(dg.AssetObservation(context.asset_key, metadata=submitted_metadata(job)))
            context.instance.add_run_tags(context.run.run_id, {"azureml/job": job.name})

        result = ensure_finetune_job(
            ws,
            recipe.value,
            model=foundation_model,
            compute=finetune_compute,
            train=train,
            test=test,
            log=context.log.info,
            on_submitted=submitted,
            force=config.force,
        )
    return dg.MaterializeResult(
        value=result.job, data_version=dg.DataVersion(result.job.name), metadata=job_metadata(result)
    )


@contextmanager
def cancelled_with_the_run(context: dg.AssetExecutionContext, ws: Workspace) -> Iterator[Callable[[str], None]]:
    """Cancel the watched Azure ML job when a person terminates the run; leave it alone when the worker is killed.

    Both interrupt the step in the same way; only a termination by a person puts the run into state CANCELING first.
    A job that is left running is found again by its name when the run is started again. The interrupt always goes on.
    """
    watched: list[str] = []
    try:
        yield watched.append
    except dg.DagsterExecutionInterruptedError:
        run = context.instance.get_run_by_id(context.run.run_id)
        if watched and run is not None and run.status is dg.DagsterRunStatus.CANCELING:
            cancel_job(ws, watched[-1], context.log.info)
        raise


@dg.asset(
    group_name=GROUP,
    kinds={"azureml", "mlflow"},
    owners=OWNERS,
    code_version="1",
    pool=AZUREML_POOL,
    metadata=reads("serving.model_name"),
)
def registered_model(
    context: dg.AssetExecutionContext, finetune_job: JobRef, workspace: AzureMLWorkspace, recipe: RecipeResource
) -> dg.MaterializeResult[RegisteredModelRef]:
    """A model version in the workspace whose source is the job's `trained_model` output."""
    with workspace.session() as ws:
        ref = ensure_registered_model(
            ws,
            job=finetune_job,
            name=recipe.value.registered_model_name,
            description=f"{recipe.value.model.name} fine-tuned for chat completion on ultrachat_200k",
            log=context.log.info,
        )
    return dg.MaterializeResult(
        value=ref,
        data_version=dg.DataVersion(f"{ref.name}:{ref.version}"),
        metadata=registered_model_metadata(ref),
    )
