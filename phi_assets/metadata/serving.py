"""The endpoint, what is behind it and what it answers, for people."""

from pathlib import Path
from statistics import mean
from typing import Any

import dagster as dg

from phi_assets.dataset.jsonl import read_jsonl
from phi_assets.metadata.tables import table
from phi_assets.refs import DeploymentRef, EndpointRef, ScoringRef, TrafficRef


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
