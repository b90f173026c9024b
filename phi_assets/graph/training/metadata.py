"""The fine-tuning job and its model, for people."""

from typing import Any

import dagster as dg

from phi_assets.azureml.training.finetune import FinetuneResult
from phi_assets.azureml.training.jobs import SubmittedJob
from phi_assets.graph.rendering import table
from phi_assets.graph.training.pictures import loss_curve
from phi_assets.refs import RegisteredModelRef


def submitted_metadata(job: SubmittedJob) -> dict[str, Any]:
    """Name and link of a job, as soon as it exists."""
    return {"job_name": job.name, "studio": dg.MetadataValue.url(job.studio_url), "action": job.action}


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
    metadata |= dict(sorted(job.metrics.items()))
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
