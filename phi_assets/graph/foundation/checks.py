"""May this model be fine-tuned on this cluster?"""

import dagster as dg

from phi_assets.graph.foundation.assets import finetune_compute
from phi_assets.refs import ComputeRef, ModelRef


@dg.asset_check(
    asset=finetune_compute,
    blocking=True,
    additional_ins={"model": dg.AssetIn("foundation_model")},
)
def compute_in_allow_list(finetune_compute: ComputeRef, model: ModelRef) -> dg.AssetCheckResult:
    """The cluster's VM size is one of those that the registry allows for fine-tuning this model."""
    allowed = model.finetune_computes
    return dg.AssetCheckResult(
        passed=allowed is None or finetune_compute.size.lower() in {size.lower() for size in allowed},
        metadata={"size": finetune_compute.size, "allowed": ", ".join(allowed) if allowed else "not restricted"},
    )
