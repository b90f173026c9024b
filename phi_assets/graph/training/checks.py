"""Did the fine-tuning achieve anything?"""

import dagster as dg

from phi_assets.azureml.training.finetune import finetune_request
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.training.assets import FINETUNE_JOB, JOB_INPUTS, REGISTERED_MODEL
from phi_assets.refs import ComputeRef, JobRef, ModelRef, RegisteredModelRef, SampleRef

_MUCH = 1.25


def training_checks(lineage: Lineage) -> list[dg.AssetChecksDefinition]:
    """The checks of `finetune_job` and of `registered_model`."""
    job_key, model_key = lineage.keys(FINETUNE_JOB, REGISTERED_MODEL)

    @dg.asset_check(asset=job_key, blocking=True)
    def losses_are_finite(finetune_job: JobRef) -> dg.AssetCheckResult:
        """No loss is missing, stopped, 0, infinite or NaN in metrics or logs: such a model answers noise.

        Azure's component records only numbers, so a loss that is none is missing there, and stands in the log.
        """
        losses = {name: value for name, value in finetune_job.metrics.items() if "loss" in name}
        problems = finetune_job.loss_problems
        doubt = finetune_job.metrics_note or ("" if losses else "no loss was recorded.")
        unknown = f"Unknown in part: {doubt} " if doubt else ""
        advice = f" Lower `learning_rate`, or look for broken rows, and run again. {finetune_job.studio_url}"
        return dg.AssetCheckResult(
            passed=not problems,
            description=unknown + " ".join(problems) + (advice if problems else "") or None,
            metadata=losses,
        )

    @dg.asset_check(asset=job_key, blocking=True)
    def training_loss_fell(finetune_job: JobRef) -> dg.AssetCheckResult:
        """The last tenth of the training losses is not above the first.

        A warning where it is above: a small learning rate and few steps may be the reason. A failure where it is more
        than a quarter above: that is no noise.
        """
        first, last = finetune_job.metrics.get("loss_first"), finetune_job.metrics.get("loss_last")
        if first is None or last is None:
            return dg.AssetCheckResult(
                passed=True, description="Unknown: fewer than two training losses were recorded."
            )
        passed = last <= first
        return dg.AssetCheckResult(
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR if last > _MUCH * first else dg.AssetCheckSeverity.WARN,
            description=None
            if passed
            else f"The training loss rose from {first:.3f} to {last:.3f}. Lower `learning_rate`.",
            metadata={"loss_first": first, "loss_last": last},
        )

    @dg.asset_check(asset=job_key)
    def metrics_were_recorded(finetune_job: JobRef) -> dg.AssetCheckResult:
        """The job has recorded metrics, and they and its logs could be read; a warning where not."""
        return dg.AssetCheckResult(
            passed=bool(finetune_job.metrics) and not finetune_job.metrics_note,
            severity=dg.AssetCheckSeverity.WARN,
            description=finetune_job.metrics_note or None,
            metadata={"metrics": len(finetune_job.metrics)},
        )

    @dg.asset_check(asset=job_key)
    def evaluation_loss_fell(finetune_job: JobRef) -> dg.AssetCheckResult:
        """The evaluation loss after fine-tuning is below the one before; a warning where it is not.

        Only of components that evaluate before they train. Azure's evaluates after each epoch.
        """
        before, after = finetune_job.metrics.get("eval_loss_before"), finetune_job.metrics.get("eval_loss")
        if before is None or after is None:
            return dg.AssetCheckResult(
                passed=True, description="Unknown: the job did not evaluate before training, or not after it."
            )
        return dg.AssetCheckResult(
            passed=after < before,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "eval_loss_before": before,
                "eval_loss": after,
                "fall_percent": round(100 * (1 - after / before), 1),
            },
        )

    @dg.asset_check(asset=model_key, blocking=True, additional_ins=lineage.ins(job=FINETUNE_JOB, **JOB_INPUTS))
    def model_comes_from_the_job(
        registered_model: RegisteredModelRef,
        job: JobRef,
        model: ModelRef,
        compute: ComputeRef,
        train: SampleRef,
        validation: SampleRef,
        test: SampleRef,
        azureml: AzureMLWorkspace,
    ) -> dg.AssetCheckResult:
        """The registered version was made by this fine-tuning job, and the job is the one that the recipe asks for."""
        with azureml.session() as ws:
            wanted = finetune_request(
                ws, lineage.recipe, model=model, compute=compute, train=train, validation=validation, test=test
            ).fingerprint
        is_ours = job.fingerprint == wanted
        return dg.AssetCheckResult(
            passed=is_ours and registered_model.job_name == job.name,
            description=None
            if is_ours
            else f"Job {job.name} was made of other inputs than the recipe and the newest data: materialize "
            f"{FINETUNE_JOB} first.",
            metadata={
                "model": registered_model.id,
                "made_from": registered_model.job_name,
                "expected": job.name,
                "fingerprint": job.fingerprint,
                "fingerprint_of_the_recipe": wanted,
            },
        )

    return [
        losses_are_finite,
        training_loss_fell,
        metrics_were_recorded,
        evaluation_loss_fell,
        model_comes_from_the_job,
    ]
