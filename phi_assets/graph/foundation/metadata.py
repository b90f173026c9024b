"""The foundation model and its cluster, for people."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from phi_assets.refs import ComputeRef, ModelRef


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


def _listing(values: Sequence[str] | None) -> str:
    return "not restricted" if values is None else ", ".join(values)
