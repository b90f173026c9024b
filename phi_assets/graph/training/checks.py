"""Did the fine-tuning achieve anything?"""

import math

import dagster as dg

from phi_assets.graph.training.assets import finetune_job, registered_model
from phi_assets.refs import JobRef, RegisteredModelRef


@dg.asset_check(asset=finetune_job, blocking=True)
def losses_are_finite(finetune_job: JobRef) -> dg.AssetCheckResult:
    """No recorded loss is NaN or infinite: such a model answers noise."""
    losses = {name: value for name, value in finetune_job.metrics.items() if "loss" in name}
    return dg.AssetCheckResult(passed=all(map(math.isfinite, losses.values())), metadata=losses)


@dg.asset_check(asset=finetune_job)
def evaluation_loss_fell(finetune_job: JobRef) -> dg.AssetCheckResult:
    """The evaluation loss after fine-tuning is below the one before; a warning where it is not."""
    before, after = finetune_job.metrics.get("eval_loss_before"), finetune_job.metrics.get("eval_loss")
    if before is None or after is None:
        return dg.AssetCheckResult(
            passed=True, description="The job recorded no evaluation loss before and after training."
        )
    return dg.AssetCheckResult(
        passed=after < before,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"eval_loss_before": before, "eval_loss": after, "fall_percent": round(100 * (1 - after / before), 1)},
    )


@dg.asset_check(asset=registered_model, blocking=True, additional_ins={"job": dg.AssetIn("finetune_job")})
def model_comes_from_the_job(registered_model: RegisteredModelRef, job: JobRef) -> dg.AssetCheckResult:
    """The registered version was made from this fine-tuning job and no other."""
    return dg.AssetCheckResult(
        passed=registered_model.job_name == job.name,
        metadata={"model": registered_model.id, "made_from": registered_model.job_name, "expected": job.name},
    )
