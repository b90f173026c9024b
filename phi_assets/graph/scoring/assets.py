"""What the live model answers, and how good that is: against the references, the base model and the champion."""

import dagster as dg
from pydantic import Field

from phi_assets.azureml.scoring.scored_model import ensure_scores
from phi_assets.azureml.serving.base_model import ensure_base_answers, no_base_answers
from phi_assets.config.recipe import ScoringSection
from phi_assets.dataset.samples.held_out import askable_conversations
from phi_assets.evaluation.answers import Questions
from phi_assets.graph.dataset.tokenizer import known_tokenizer
from phi_assets.graph.explanation import explained
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.presentation import presented
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.scoring.metadata import SCORING_NUMBERS, base_metadata, scoring_metadata
from phi_assets.graph.serving.champion import SCORING_RESULT, find_champion
from phi_assets.refs import AnswersRef, ModelRef, SampleRef, ScoringRef, TrafficRef

BASE_ANSWERS = "base_answers"

QUESTION_KEYS = (
    *(f"scoring.{name}" for name in ("samples", "seed", "temperature", "top_p", "do_sample", "max_new_tokens")),
    "contract.context_tokens",
    "contract.tokenizer",
    "contract.tokenizer_repo",
)


class ScoringConfig(dg.Config):
    """Launch-time choices of scoring."""

    force: bool = Field(default=False, description="Ask again even where the same model answered the same prompts")


def scoring_assets(lineage: Lineage) -> list[dg.AssetsDefinition]:
    """`base_answers` and `scoring_result`."""
    return [_base_answers(lineage), _scoring_result(lineage)]


def _base_answers(lineage: Lineage) -> dg.AssetsDefinition:
    recipe, scoring = lineage.recipe, lineage.recipe.scoring

    @lineage.asset(
        BASE_ANSWERS,
        *QUESTION_KEYS,
        "scoring.compare_with_base",
        needs=lineage.ins("live_traffic", "foundation_model", test="sampled_test_gen"),
        kinds={"azureml"},
        pool=lineage.endpoint_pool,
    )
    def base_answers(
        context: dg.AssetExecutionContext,
        config: ScoringConfig,
        live_traffic: TrafficRef,
        foundation_model: ModelRef,
        test: SampleRef,
        azureml: AzureMLWorkspace,
    ) -> dg.MaterializeResult[AnswersRef]:
        """What the foundation model answers to the questions of the live model; no deployment of it is left."""
        ref = no_base_answers(foundation_model)
        if scoring.compare_with_base:
            tokenizer = known_tokenizer(recipe, lineage.storage)
            prompts = askable_conversations(test, scoring, recipe.contract, tokenizer)
            conversations = [prompt.conversation for prompt in prompts.conversations]
            with azureml.session() as ws:
                ref = ensure_base_answers(
                    ws,
                    live_traffic,
                    foundation_model,
                    Questions(conversations, scoring.parameters(), prompts.left_out),
                    recipe.serving,
                    storage=lineage.storage,
                    owner=azureml.owner(recipe.name),
                    force=config.force,
                    log=context.log.info,
                )
        asked = {"model": ref.model_id, "model content": foundation_model.content_hash[:12]}
        why = explained(context, asked | {"test data": test.sha256[:12]} | _shown(scoring), ref.reason)
        return dg.MaterializeResult(
            value=ref, data_version=dg.DataVersion(ref.fingerprint), metadata=presented(base_metadata(ref) | why)
        )

    return base_answers


def _scoring_result(lineage: Lineage) -> dg.AssetsDefinition:
    recipe, scoring = lineage.recipe, lineage.recipe.scoring

    @lineage.asset(
        SCORING_RESULT,
        *QUESTION_KEYS,
        *("scoring.compare_with_base", "scoring.margin", "serving.request_timeout_seconds"),
        version="2",
        needs=lineage.ins("live_traffic", BASE_ANSWERS, test="sampled_test_gen"),
        kinds={"azureml", "polars"},
    )
    def scoring_result(
        context: dg.AssetExecutionContext,
        config: ScoringConfig,
        live_traffic: TrafficRef,
        base_answers: AnswersRef,
        test: SampleRef,
        azureml: AzureMLWorkspace,
    ) -> dg.MaterializeResult[ScoringRef]:
        """Answers of the live model to a seeded choice of held-out prompts: how good they are, how fast they came."""
        tokenizer = known_tokenizer(recipe, lineage.storage)
        prompts = askable_conversations(test, scoring, recipe.contract, tokenizer)
        with azureml.session() as ws:
            ref = ensure_scores(
                ws,
                live_traffic,
                prompts.conversations,
                prompts.left_out,
                base_answers,
                find_champion(context.instance, context.asset_key, live_traffic.model_id, lineage.storage),
                recipe,
                storage=lineage.storage,
                tokenizer=tokenizer,
                force=config.force,
                log=context.log.info,
            )
        asked = {"model": ref.model_id, "base model": base_answers.fingerprint, "test data": test.sha256[:12]}
        why = explained(context, asked | _shown(scoring), ref.reason)
        return dg.MaterializeResult(
            value=ref,
            data_version=dg.DataVersion(ref.fingerprint),
            metadata=presented(scoring_metadata(ref) | why, *SCORING_NUMBERS),
        )

    return scoring_result


def _shown(scoring: ScoringSection) -> dict[str, object]:
    """What of the recipe decides which answers are given."""
    return scoring.model_dump(mode="json", exclude={"max_p95_seconds"})
