"""The fine-tuning job and the model that comes out of it."""

from collections.abc import Iterator
from functools import partial

import dagster as dg
from pydantic import Field

from phi_assets.azureml.connection.errors import JobUnderway
from phi_assets.azureml.models.registered import ensure_registered_model
from phi_assets.azureml.training.finetune import ensure_finetune_job
from phi_assets.azureml.training.jobs import SubmittedJob
from phi_assets.graph.explanation import changes_since_last, explained, submitted_metadata
from phi_assets.graph.interrupts import cancelled_with_the_run, interrupts_kept
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.preflight.assets import PREFLIGHT
from phi_assets.graph.presentation import presented
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.training.detached import HOW_IT_GOES_ON, is_unattended, leave
from phi_assets.graph.training.metadata import JOB_NUMBERS, job_metadata, registered_model_metadata
from phi_assets.graph.training.spending import spending
from phi_assets.refs import ComputeRef, JobRef, ModelRef, RegisteredModelRef, SampleRef

FINETUNE_JOB, REGISTERED_MODEL = "finetune_job", "registered_model"

JOB_INPUTS = {
    "model": "foundation_model",
    "compute": "finetune_compute",
    "train": "sampled_train_sft",
    "validation": "sampled_validation_sft",
    "test": "sampled_test_sft",
}
"""What a job is made of besides the recipe: assets, by the names that they have in a request."""

JOB_TAG = "azureml/job"
"""Run tag with the name of the Azure ML job that the run submitted, attached to or reused."""
STUDIO_TAG = "azureml/studio"
FINGERPRINT_TAG = "azureml/fingerprint"


class FinetuneConfig(dg.Config):
    """Launch-time choices of the fine-tuning job."""

    force: bool = Field(default=False, description="Submit a new job even where a completed one matches")
    submit: bool = Field(default=True, description="Submit a job where none can be reused or waited for; else fail")
    take_up: str = Field(default="", description="Name of a job that no run has waited for: use it, or fail as it has")


def training_assets(lineage: Lineage) -> list[dg.AssetsDefinition]:
    """`finetune_job` and `registered_model`."""
    return [_finetune_job(lineage), _registered_model(lineage)]


def _finetune_job(lineage: Lineage) -> dg.AssetsDefinition:
    recipe = lineage.recipe

    @lineage.asset(
        FINETUNE_JOB,
        *("component", "finetune.parameters", "finetune.defaults"),
        needs=lineage.ins(**JOB_INPUTS),
        deps=[PREFLIGHT],
        output_required=False,
        kinds={"azureml", "pytorch"},
    )
    def finetune_job(
        context: dg.AssetExecutionContext,
        config: FinetuneConfig,
        model: ModelRef,
        compute: ComputeRef,
        train: SampleRef,
        validation: SampleRef,
        test: SampleRef,
        azureml: AzureMLWorkspace,
        azureml_prices: PricesResource,
    ) -> Iterator[dg.MaterializeResult[JobRef]]:
        """A fine-tuning pipeline job is Completed in Azure ML and its `trained_model` output has been looked for.

        It has trained on `train_sft` and been evaluated meanwhile on `validation_sft`, which no step trains on. A
        run of a recipe that waits `detached`, or that a sensor, a schedule or `phi_automation` has started, submits it,
        and ends without an output where the job has not ended.
        """
        with (
            azureml.session() as ws,
            cancelled_with_the_run(context, ws, azureml.owner(recipe.name)) as watch,
            interrupts_kept() as raise_interrupts,
        ):
            try:
                result = ensure_finetune_job(
                    ws,
                    recipe,
                    model=model,
                    compute=compute,
                    train=train,
                    validation=validation,
                    test=test,
                    log=context.log.info,
                    output=partial(print, flush=True),
                    on_name=watch,
                    on_submitted=partial(_announce, context, lineage),
                    on_poll=raise_interrupts,
                    force=config.force,
                    submit=config.submit,
                    # A crashed run that forced a job is started again with the same configuration.
                    forced_by=context.run.root_run_id or context.run.run_id,
                    wait=bool(config.take_up) or (recipe.finetune.wait == "in_run" and not is_unattended(context)),
                    take_up=config.take_up,
                )
            except JobUnderway as underway:
                leave(context, underway.name, lineage)
                context.log.info(str(underway))
                context.log.info(HOW_IT_GOES_ON)
                return
            price_list = azureml_prices.value_or_none(context.log.warning)
            spent = spending(context, ws, recipe, result, compute, price_list)
        if not result.job.model_seen:
            context.log.warning(
                f"The model of job {result.job.name} was not seen: nobody says where it lies. "
                "registered_model shows whether it is there."
            )
        why = explained(context, result.inputs, result.job.reason)
        yield dg.MaterializeResult(
            value=result.job,
            data_version=dg.DataVersion(result.job.name),
            metadata=presented(job_metadata(result) | spent | why, *JOB_NUMBERS),
        )

    return finetune_job


def _announce(context: dg.AssetExecutionContext, lineage: Lineage, job: SubmittedJob) -> None:
    """Name and link of the job are on the run, long before there is a materialization to carry them."""
    changed = changes_since_last(context, job.inputs)
    context.log_event(dg.AssetObservation(context.asset_key, metadata={**submitted_metadata(job), "changed": changed}))
    context.instance.add_run_tags(
        context.run.run_id,
        {**lineage.run_tags, JOB_TAG: job.name, STUDIO_TAG: job.studio_url, FINGERPRINT_TAG: job.fingerprint},
    )


def _registered_model(lineage: Lineage) -> dg.AssetsDefinition:
    recipe, needs = lineage.recipe, lineage.ins(FINETUNE_JOB)

    @lineage.asset(REGISTERED_MODEL, "serving.model_name", needs=needs, kinds={"azureml", "mlflow"})
    def registered_model(
        context: dg.AssetExecutionContext, finetune_job: JobRef, azureml: AzureMLWorkspace
    ) -> dg.MaterializeResult[RegisteredModelRef]:
        """A model version in the workspace whose source is the job's `trained_model` output."""
        with azureml.session() as ws:
            ref = ensure_registered_model(
                ws,
                job=finetune_job,
                name=recipe.registered_model_name,
                description=f"{recipe.model.name} fine-tuned for chat completion on {recipe.dataset.name}",
                owner=azureml.owner(recipe.name),
                log=context.log.info,
            )
        why = explained(context, {"job": finetune_job.name, "name": ref.name}, ref.reason)
        return dg.MaterializeResult(
            value=ref,
            data_version=dg.DataVersion(f"{ref.name}:{ref.version}"),
            metadata=presented(registered_model_metadata(ref, ws.model_studio_url(ref.name, ref.version)) | why),
        )

    return registered_model
