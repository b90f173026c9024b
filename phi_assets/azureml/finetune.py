"""One fine-tune of a recipe: component, effective parameters and job, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.identity import JobRequest
from phi_assets.azureml.jobs import OnSubmitted, ensure_job
from phi_assets.azureml.metrics import MetricPoint, job_metrics
from phi_assets.azureml.parameters import EffectiveParameters, effective_parameters
from phi_assets.azureml.pipelines import get_component
from phi_assets.azureml.retry import Log, silent
from phi_assets.recipe import Recipe
from phi_assets.refs import ComputeRef, JobRef, ModelRef, SampleRef

EVALUATION_LOSS = "eval_loss"


@dataclass(frozen=True)
class FinetuneResult:
    """A completed fine-tune, and what is worth showing of it."""

    job: JobRef
    parameters: EffectiveParameters
    curves: Mapping[str, Sequence[MetricPoint]]
    """Every metric over its steps; empty where the job recorded none."""


def ensure_finetune_job(
    ws: Workspace,
    recipe: Recipe,
    *,
    model: ModelRef,
    compute: ComputeRef,
    train: SampleRef,
    test: SampleRef,
    log: Log = silent,
    on_submitted: OnSubmitted | None = None,
    force: bool = False,
) -> FinetuneResult:
    """The recipe's fine-tuning job is Completed with a verified output, submitted only if none was found.

    The ref's metrics hold the last value of each metric, and `eval_loss_before` where the first evaluation was made
    before the first training step.

    Raises:
        UnknownParameter, InvalidParameter, ComponentNotFound: the recipe does not fit the component; nothing was
            submitted.
        AzureMLError: whatever `ensure_job` raises.
    """
    component = get_component(ws, recipe.component, log)
    parameters = effective_parameters(component.inputs, model.defaults, recipe.finetune)
    for key, reason in parameters.dropped.items():
        log(f"Default {key} of model {model.name} is not used: {reason}")
    for key, words in parameters.overridden.items():
        log(f"Parameter {key}: {words}")
    request = JobRequest(component, model, compute, train, test, parameters, recipe.finetune)
    job = ensure_job(ws, request=request, log=log, on_submitted=on_submitted, force=force)
    curves = job_metrics(ws, job.name, log) if job.metrics else {}
    return FinetuneResult(_with_first_evaluation(job, curves), parameters, curves)


def _with_first_evaluation(job: JobRef, curves: Mapping[str, Sequence[MetricPoint]]) -> JobRef:
    points = curves.get(EVALUATION_LOSS, ())
    if not points or points[0].step != 0:
        return job
    return job.model_copy(update={"metrics": {**job.metrics, f"{EVALUATION_LOSS}_before": points[0].value}})
