"""The fine-tuning job and its model, for people."""

from typing import Any

import dagster as dg

from phi_assets.azureml.training.finetune import FinetuneResult
from phi_assets.graph.presentation import rounded
from phi_assets.graph.rendering import table
from phi_assets.graph.training.pictures import loss_curve
from phi_assets.refs import RegisteredModelRef

_LOSSES = ("loss_first", "loss_last", "eval_loss_before", "eval_loss", "train_loss")
JOB_NUMBERS = (*_LOSSES[:4], "estimated_cost", "gpu_hours")
"""What a person asks of a job."""

_NOTES = {
    "learning_rate": "the schedule's last one; the parameter is among the parameters",
    "grad_norm": "of the last step that was logged",
    "loss": "of the last step that was logged",
    "train_loss": "the mean of all steps",
}
"""Of metrics whose names say less than they seem to.

https://huggingface.co/docs/transformers/main_classes/trainer
"""


def job_metadata(result: FinetuneResult) -> dict[str, Any]:
    """A completed job: what was decided and why, what it was given, and how the loss went."""
    job, parameters = result.job, result.parameters
    metadata: dict[str, Any] = {
        "action": job.action,
        "job_name": job.name,
        "display_name": job.display_name,
        "studio": dg.MetadataValue.url(job.studio_url),
        "fingerprint": job.fingerprint,
        "attempt": job.attempt,
        "model_seen": job.model_seen,
        "parameters": table(
            [
                {"name": key, "value": str(value), "origin": parameters.origins[key]}
                for key, value in parameters.values.items()
            ]
        ),
    }
    if result.data:
        metadata["data_assets"] = table(
            [
                {"asset": f"{data.name}:{data.version}", "action": data.action, "reason": data.reason}
                for data in result.data
            ]
        )
    if parameters.dropped:
        metadata["dropped_defaults"] = table(
            [{"name": key, "reason": reason} for key, reason in sorted(parameters.dropped.items())]
        )
    # Each number has a plot of its own in the UI: these are worth one.
    metadata |= {name: job.metrics[name] for name in _LOSSES if name in job.metrics}
    if job.metrics:
        metadata["metrics"] = table(
            [
                {"metric": name, "last value": f"{rounded(value):g}", "which is": _NOTES.get(name, "")}
                for name, value in sorted(job.metrics.items())
            ]
        )
    if job.metrics_note:
        metadata["metrics_note"] = job.metrics_note
    if job.loss_problems:
        metadata["loss_problems"] = dg.MetadataValue.md("\n".join(f"- {problem}" for problem in job.loss_problems))
    if result.curves:
        metadata["loss_curve"] = dg.MetadataValue.md(loss_curve(result.curves))
    return metadata


def registered_model_metadata(ref: RegisteredModelRef, studio_url: str) -> dict[str, Any]:
    """The model version, its page in Studio, and the job it comes from."""
    return {
        "action": ref.action,
        "studio": dg.MetadataValue.url(studio_url),
        "id": ref.id,
        "name": ref.name,
        "version": ref.version,
        "job_name": ref.job_name,
    }
