"""What the live model answers, and how good that is: against the references, the base model and the champion."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from phi_assets.azureml.scoring.scored_model import ensure_scores
from phi_assets.azureml.serving.base_model import ensure_base_answers, no_base_answers
from phi_assets.config.recipe import ScoringSection
from phi_assets.dataset.samples.held_out import askable_conversations
from phi_assets.evaluation.answers import Questions
from phi_assets.graph.common import ENDPOINT_POOL, OWNERS, explained, reads
from phi_assets.graph.resources.recipe import RecipeResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.scoring.champion import find_champion
from phi_assets.graph.scoring.metadata import base_metadata, scoring_metadata
from phi_assets.refs import AnswersRef, ModelRef, SampleRef, ScoringRef, TrafficRef

GROUP = "serving"

QUESTION_KEYS = (
    *(f"scoring.{name}" for name in ("samples", "seed", "temperature", "top_p", "do_sample", "max_new_tokens")),
    "contract.context_tokens",
    "contract.tokenizer",
)


class ScoringConfig(dg.Config):
    """Launch-time choices of scoring."""

    force: bool = Field(default=False, description="Ask again even where the same model answered the same prompts")


@dg.asset(
    group_name=GROUP,
    ins={"test": dg.AssetIn(["sampled", "test_gen"])},
    kinds={"azureml"},
    owners=OWNERS,
    code_version="1",
    pool=ENDPOINT_POOL,
    metadata=reads(*QUESTION_KEYS, "scoring.compare_with_base"),
)
def base_answers(
    context: dg.AssetExecutionContext,
    config: ScoringConfig,
    live_traffic: TrafficRef,
    foundation_model: ModelRef,
    test: SampleRef,
    workspace: AzureMLWorkspace,
    recipe: RecipeResource,
) -> dg.MaterializeResult[AnswersRef]:
    """What the foundation model answers to the questions of the live model; no deployment of it is left."""
    scoring = recipe.value.scoring
    ref = no_base_answers(foundation_model)
    if scoring.compare_with_base:
        prompts = askable_conversations(test, scoring, recipe.value.contract)
        with workspace.session() as ws:
            ref = ensure_base_answers(
                ws,
                live_traffic,
                foundation_model,
                Questions(
                    [prompt.conversation for prompt in prompts.conversations], scoring.parameters(), prompts.left_out
                ),
                recipe.value.serving,
                directory=Path(workspace.home) / "data" / "base_answers",
                force=config.force,
                log=context.log.info,
            )
    asked = {"model": ref.model_id, "model content": foundation_model.content_hash[:12], "test data": test.sha256[:12]}
    why = explained(context, asked | _shown(scoring), ref.reason)
    return dg.MaterializeResult(
        value=ref, data_version=dg.DataVersion(ref.fingerprint), metadata=base_metadata(ref) | why
    )


@dg.asset(
    group_name=GROUP,
    ins={"test": dg.AssetIn(["sampled", "test_gen"])},
    kinds={"azureml", "polars"},
    owners=OWNERS,
    code_version="2",
    metadata=reads(*QUESTION_KEYS, "scoring.compare_with_base", "serving.request_timeout_seconds"),
)
def scoring_result(
    context: dg.AssetExecutionContext,
    config: ScoringConfig,
    live_traffic: TrafficRef,
    base_answers: AnswersRef,
    test: SampleRef,
    workspace: AzureMLWorkspace,
    recipe: RecipeResource,
) -> dg.MaterializeResult[ScoringRef]:
    """Answers of the live model to a seeded choice of held-out prompts: how good they are, and how fast they came."""
    scoring = recipe.value.scoring
    prompts = askable_conversations(test, scoring, recipe.value.contract)
    with workspace.session() as ws:
        ref = ensure_scores(
            ws,
            live_traffic,
            prompts.conversations,
            prompts.left_out,
            base_answers,
            find_champion(context, live_traffic.model_id),
            recipe.value,
            directory=Path(workspace.home) / "data" / "scoring",
            force=config.force,
            log=context.log.info,
        )
    asked = {"model": ref.model_id, "base model": base_answers.fingerprint, "test data": test.sha256[:12]}
    why = explained(context, asked | _shown(scoring), ref.reason)
    return dg.MaterializeResult(
        value=ref, data_version=dg.DataVersion(ref.fingerprint), metadata=scoring_metadata(ref) | why
    )


def _shown(scoring: ScoringSection) -> dict[str, object]:
    """What of the recipe decides which answers are given."""
    return scoring.model_dump(mode="json", exclude={"max_p95_seconds"})
