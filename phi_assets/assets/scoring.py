"""What the live model answers."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from phi_assets.assets.common import OWNERS, explained, reads
from phi_assets.azureml.answers import ensure_answers
from phi_assets.dataset.held_out import held_out_conversations
from phi_assets.metadata.scoring import scoring_metadata
from phi_assets.refs import SampleRef, ScoringRef, TrafficRef
from phi_assets.resources.recipe import RecipeResource
from phi_assets.resources.workspace import AzureMLWorkspace

GROUP = "serving"


class ScoringConfig(dg.Config):
    """Launch-time choices of scoring."""

    force: bool = Field(default=False, description="Ask again even where the same model answered the same prompts")


@dg.asset(
    group_name=GROUP,
    ins={"test": dg.AssetIn(["sampled", "test_gen"])},
    kinds={"azureml", "pandas"},
    owners=OWNERS,
    code_version="1",
    metadata=reads("scoring", "serving.request_timeout_seconds"),
)
def scoring_result(
    context: dg.AssetExecutionContext,
    config: ScoringConfig,
    live_traffic: TrafficRef,
    test: SampleRef,
    workspace: AzureMLWorkspace,
    recipe: RecipeResource,
) -> dg.MaterializeResult[ScoringRef]:
    """Answers of the live model to a seeded choice of held-out prompts, with the reference answers and latencies."""
    scoring = recipe.value.scoring
    prompts = held_out_conversations(test, scoring.samples, scoring.seed)
    with workspace.session() as ws:
        ref = ensure_answers(
            ws,
            live_traffic,
            prompts,
            scoring.parameters(),
            timeout_seconds=recipe.value.serving.request_timeout_seconds,
            directory=Path(workspace.home) / "data" / "scoring",
            log=context.log.info,
            force=config.force,
        )
    asked = {"model": ref.model_id, "test data": test.sha256[:12], **scoring.model_dump(mode="json")}
    return dg.MaterializeResult(
        value=ref,
        data_version=dg.DataVersion(ref.fingerprint),
        metadata=scoring_metadata(ref) | explained(context, asked, ref.reason),
    )
