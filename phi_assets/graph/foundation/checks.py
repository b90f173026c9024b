"""May this model be fine-tuned on this cluster?"""

import dagster as dg

from phi_assets.graph.lineage import Lineage
from phi_assets.refs import ComputeRef, ModelRef


def foundation_checks(lineage: Lineage) -> list[dg.AssetChecksDefinition]:
    """The check of `finetune_compute`."""

    @dg.asset_check(
        asset=lineage.key("finetune_compute"), blocking=True, additional_ins=lineage.ins(model="foundation_model")
    )
    def compute_in_allow_list(finetune_compute: ComputeRef, model: ModelRef) -> dg.AssetCheckResult:
        """The cluster's VM size is one of those that the registry allows for fine-tuning this model."""
        allowed = model.finetune_computes
        return dg.AssetCheckResult(
            passed=allowed is None or finetune_compute.size.lower() in {size.lower() for size in allowed},
            metadata={"size": finetune_compute.size, "allowed": ", ".join(allowed) if allowed else "not restricted"},
        )

    return [compute_in_allow_list]
