"""What the live model answers, for people."""

from pathlib import Path
from statistics import mean
from typing import Any

import dagster as dg

from phi_assets.dataset.jsonl import read_jsonl
from phi_assets.metadata.tables import table
from phi_assets.refs import ScoringRef


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
