"""One fine-tune of a recipe: component, effective parameters and job, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import MetricsUnreadable
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.training.history import UNREADABLE, RunHistory
from phi_assets.azureml.training.identity import JobRequest
from phi_assets.azureml.training.jobs import Handling, ensure_job
from phi_assets.azureml.training.logs import loss_lines
from phi_assets.azureml.training.metrics import MetricPoint, metric_curves
from phi_assets.azureml.training.parameters import EffectiveParameters, effective_parameters
from phi_assets.azureml.training.pipelines import VALIDATION_INPUT, get_component
from phi_assets.azureml.training.submission import OnName
from phi_assets.config.recipe import Recipe
from phi_assets.evaluation.losses import EVALUATION_LOSS, EVIDENCE, LOSS, Curves, are_proven, divergence, first_and_last
from phi_assets.refs import ComputeRef, DataRef, JobRef, ModelRef, SampleRef

_CURVES = (*EVIDENCE, *EVIDENCE.values())


@dataclass(frozen=True)
class FinetuneResult:
    """A completed fine-tune, and what is worth showing of it."""

    job: JobRef
    parameters: EffectiveParameters
    curves: Mapping[str, Sequence[MetricPoint]]
    """Training and evaluation loss, and what is recorded with them, over the steps; without what the job did not."""
    inputs: Mapping[str, str]
    """What the fine-tune depends on, labelled for people, for example `{"train data": "3f2a91bc0d12", "gpus": "1"}`."""
    data: tuple[DataRef, ...] = ()
    """The data assets that a new job was given: train, validation, test. Empty where nothing was submitted."""


def ensure_finetune_job(
    ws: Workspace,
    recipe: Recipe,
    *,
    model: ModelRef,
    compute: ComputeRef,
    train: SampleRef,
    validation: SampleRef,
    test: SampleRef,
    log: Log = silent,
    on_name: OnName | None = None,
    **handling: Unpack[Handling],
) -> FinetuneResult:
    """The recipe's fine-tuning job is Completed and its model was looked for, submitted only if none was found.

    The ref's metrics hold the last value of each metric, `loss_first` and `loss_last` where there is a curve, and
    `eval_loss_before` where an evaluation was made before the first training step, which the published component does
    not make. Its `loss_problems` say what speaks for a training that has diverged. A component that takes no
    validation data is given none, and `log` says so.

    Raises:
        UnknownParameter, InvalidParameter, ComponentNotFound: the recipe does not fit the component; nothing was
            submitted.
        AzureMLError: whatever `ensure_job` raises.
    """
    request = finetune_request(
        ws, recipe, model=model, compute=compute, train=train, validation=validation, test=test, log=log
    )
    parameters = request.parameters
    if not request.component.takes_validation:
        log(
            f"Warning: component {request.component.name}:{request.component.version} has no input {VALIDATION_INPUT}: "
            f"the {validation.rows:,} rows of {validation.split} are not used, and it chooses itself what to evaluate "
            "on. Set `component.version` to one that declares it."
        )
    for key, reason in parameters.dropped.items():
        log(f"Default {key} of model {model.name} is not used: {reason}")
    for key, words in parameters.overridden.items():
        log(f"Parameter {key}: {words}")
    data: list[DataRef] = []
    job = ensure_job(ws, request=request, log=log, on_name=on_name, on_data=data.append, **handling)
    job, curves = _with_curves(ws, job, log)
    return FinetuneResult(_judged(ws, job, curves, log), parameters, curves, request.labelled_inputs, tuple(data))


def finetune_request(
    ws: Workspace,
    recipe: Recipe,
    *,
    model: ModelRef,
    compute: ComputeRef,
    train: SampleRef,
    validation: SampleRef,
    test: SampleRef,
    log: Log = silent,
) -> JobRequest:
    """The job that the recipe asks for on these inputs; one read of the registry, nothing is submitted.

    Raises:
        UnknownParameter, InvalidParameter, ComponentNotFound: the recipe does not fit the component.
    """
    component = get_component(ws, recipe.component, log)
    parameters = effective_parameters(component.inputs, model.defaults, recipe.finetune)
    return JobRequest(
        component=component,
        model=model,
        compute=compute,
        train=train,
        validation=validation,
        test=test,
        parameters=parameters,
        finetune=recipe.finetune,
        data_name=recipe.dataset.name,
        owner=ws.owner(recipe.name),
    )


def _with_curves(ws: Workspace, job: JobRef, log: Log) -> tuple[JobRef, Mapping[str, Sequence[MetricPoint]]]:
    recorded = [name for name in _CURVES if name in job.metrics]
    if not recorded:
        return job, {}
    try:
        return job, metric_curves(ws, job.name, recorded, log)
    except (MetricsUnreadable, *UNREADABLE) as error:
        # A proven job is worth more than its curve.
        return _noted(job, f"The loss curve of job {job.name} cannot be read. {one_line(error)}.", log), {}


def _noted(job: JobRef, note: str, log: Log) -> JobRef:
    """The job says that something of it is not known."""
    log(f"Warning: {note}")
    return job.model_copy(update={"metrics_note": f"{job.metrics_note} {note}".strip()})


def _judged(ws: Workspace, job: JobRef, curves: Curves, log: Log) -> JobRef:
    lines: list[str] = []
    try:
        # Logs cost requests for every step, and say nothing about losses that all were numbers.
        if not are_proven(curves) or divergence(curves, job.metrics, lines):
            lines = loss_lines(RunHistory(ws, log), job.name)
    except UNREADABLE as error:
        note = f"The logs of job {job.name} cannot be searched for losses that are no numbers. {one_line(error)}."
        job = _noted(job, note, log)
    update: dict[str, Any] = {"loss_problems": divergence(curves, job.metrics, lines)}
    return job.model_copy(update=update | {"metrics": job.metrics | _before(curves) | _ends(curves)})


def _ends(curves: Curves) -> dict[str, float]:
    ends = first_and_last(curves.get(LOSS, ()))
    return dict(zip((f"{LOSS}_first", f"{LOSS}_last"), ends, strict=True)) if ends else {}


def _before(curves: Curves) -> dict[str, float]:
    """The evaluation loss before training; a component that records no steps says nothing about what came before."""
    points = curves.get(EVALUATION_LOSS, ())
    has_steps = any(point.step > 0 for curve in curves.values() for point in curve)
    return {f"{EVALUATION_LOSS}_before": points[0].value} if has_steps and points and points[0].step == 0 else {}
