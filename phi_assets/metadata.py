"""Refs and reports as Dagster metadata: tables, pictures, links, and numbers under stable keys that the UI plots."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import dagster as dg

from phi_assets.azureml.finetune import FinetuneResult
from phi_assets.azureml.jobs import SubmittedJob
from phi_assets.azureml.metrics import MetricPoint
from phi_assets.dataset.preview import example_conversations, preview_markdown, summary
from phi_assets.dataset.sample import read_jsonl
from phi_assets.refs import (
    ComputeRef,
    DatasetRef,
    DeploymentRef,
    EndpointRef,
    ModelRef,
    RegisteredModelRef,
    SampleRef,
    ScoringRef,
    SplitRef,
    TrafficRef,
)

CHAT_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("prompt", "string", description="The first user message"),
        dg.TableColumn("prompt_id", "string", description="SHA-256 of the prompt"),
        dg.TableColumn("messages", "list<struct<content: string, role: string>>", description="The conversation"),
    ]
)


def dataset_metadata(ref: DatasetRef) -> dict[str, Any]:
    """Where the data set comes from; a link for a hub repository."""
    metadata: dict[str, Any] = {"source": ref.source, "name": ref.name, "revision": ref.revision}
    if ref.source == "hub":
        metadata["dagster/uri"] = dg.MetadataValue.url(
            f"https://huggingface.co/datasets/{ref.name}/tree/{ref.revision}"
        )
    return metadata


def split_metadata(ref: SplitRef) -> dict[str, Any]:
    """Size and schema of a raw split."""
    return {
        "dagster/row_count": ref.rows,
        "dagster/column_schema": CHAT_SCHEMA,
        "size_bytes": ref.size_bytes,
        "shards": len(ref.files),
        "source": ref.source,
        "sha256": ref.sha256,
    }


def sample_metadata(ref: SampleRef) -> dict[str, Any]:
    """Size of a sample, and some of its conversations to read."""
    return {
        "dagster/row_count": ref.rows,
        "dagster/column_schema": CHAT_SCHEMA,
        "rows_total": ref.rows_total,
        "size_bytes": ref.size_bytes,
        "sha256": ref.sha256,
        "jsonl": dg.MetadataValue.path(ref.jsonl),
        "parquet": dg.MetadataValue.path(ref.parquet),
        **{key: value for key, value in summary(ref).items() if key != "rows"},
        "conversations": dg.MetadataValue.md(preview_markdown(example_conversations(ref, n=5, seed=0))),
    }


def model_metadata(ref: ModelRef) -> dict[str, Any]:
    """Identity, limits and defaults of the foundation model."""
    return {
        "id": ref.id,
        "version": ref.version,
        "content_hash": ref.content_hash,
        "finetune_computes": _listing(ref.finetune_computes),
        "inference_computes": _listing(ref.inference_computes),
        "model_specific_defaults": dg.MetadataValue.json(ref.defaults),
    }


def compute_metadata(ref: ComputeRef) -> dict[str, Any]:
    """The cluster."""
    return {"action": ref.action, "name": ref.name, "size": ref.size, "tier": ref.tier, "gpus_per_node": ref.gpus}


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
    if result.curves:
        metadata["loss_curve"] = dg.MetadataValue.md(loss_curve(result.curves))
    return metadata


def registered_model_metadata(ref: RegisteredModelRef) -> dict[str, Any]:
    """The model version and the job it comes from."""
    return {"action": ref.action, "id": ref.id, "name": ref.name, "version": ref.version, "job_name": ref.job_name}


def endpoint_metadata(ref: EndpointRef) -> dict[str, Any]:
    """The endpoint and the end of its lease."""
    return {
        "action": ref.action,
        "name": ref.name,
        "scoring_uri": dg.MetadataValue.url(ref.scoring_uri),
        "expires_at": ref.expires_at,
    }


def deployment_metadata(ref: DeploymentRef) -> dict[str, Any]:
    """The deployment."""
    return {
        "action": ref.action,
        "endpoint": ref.endpoint,
        "name": ref.name,
        "model": ref.model_id,
        "instance_type": ref.instance_type,
        "instance_count": ref.instance_count,
    }


def traffic_metadata(ref: TrafficRef) -> dict[str, Any]:
    """Who gets the requests."""
    return {
        "action": ref.action,
        "traffic": dg.MetadataValue.json(ref.traffic),
        "retired": ", ".join(ref.retired) or "none",
    }


def scoring_metadata(ref: ScoringRef) -> dict[str, Any]:
    """Prompts, answers and references side by side, with latencies."""
    answers = list(read_jsonl(Path(ref.jsonl)))
    latencies = [row["latency_ms"] for row in answers]
    return {
        "action": ref.action,
        "dagster/row_count": ref.rows,
        "latency_ms_mean": round(mean(latencies), 1),
        "latency_ms_max": max(latencies),
        "empty_answers": sum(not row["answer"].strip() for row in answers),
        "deployment": ref.deployment,
        "jsonl": dg.MetadataValue.path(ref.jsonl),
        "answers": table([{key: row[key] for key in ("prompt", "answer", "reference")} for row in answers]),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A table of the given rows, with the columns of the first."""
    columns = [dg.TableColumn(name) for name in (rows[0] if rows else {"": ""})]
    return dg.MetadataValue.table(
        records=[dg.TableRecord({key: str(value) for key, value in row.items()}) for row in rows],
        schema=dg.TableSchema(columns),
    )


def loss_curve(curves: Mapping[str, Sequence[MetricPoint]]) -> str:
    """Markdown of one PNG: training loss over steps as a line, evaluation loss as points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, style in (("loss", "-"), ("eval_loss", "o--")):
        points = curves.get(name, ())
        if points:
            axes.plot([point.step for point in points], [point.value for point in points], style, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(figure, "loss curve")


def _png(figure: Any, alternative: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return f"![{alternative}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"


def _listing(values: Sequence[str] | None) -> str:
    return "not restricted" if values is None else ", ".join(values)
