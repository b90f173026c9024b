"""Are the answers of the live model any good?"""

from pathlib import Path

import dagster as dg

from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.evaluation.report import Comparison, read_scoring_report
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.scoring.assets import BASE_ANSWERS
from phi_assets.graph.scoring.metadata import comparison_numbers
from phi_assets.graph.serving.champion import SCORING_RESULT
from phi_assets.refs import AnswersRef, ScoringRef


def scoring_checks(lineage: Lineage) -> list[dg.AssetChecksDefinition]:
    """The checks of `base_answers` and of `scoring_result`."""
    base_key, scores_key = lineage.keys(BASE_ANSWERS, SCORING_RESULT)

    @dg.asset_check(asset=scores_key)
    def every_prompt_was_answered(scoring_result: ScoringRef) -> dg.AssetCheckResult:
        """The live model failed at no prompt, and none was too long to be asked; a warning where one was.

        Such prompts are in no figure. A prompt that the model failed at is not asked again unless that is forced.
        """
        return _answered(scoring_result.rows, scoring_result.failed, scoring_result.left_out)

    @dg.asset_check(asset=base_key)
    def base_model_answered_every_prompt(base_answers: AnswersRef) -> dg.AssetCheckResult:
        """The base model failed at no prompt, and none was too long to be asked; a warning where one was."""
        return _answered(base_answers.rows, base_answers.failed, base_answers.left_out)

    @dg.asset_check(asset=scores_key)
    def answers_are_not_empty(scoring_result: ScoringRef) -> dg.AssetCheckResult:
        """The live model answered every prompt with some text."""
        empty = [row["prompt"] for row in read_jsonl(Path(scoring_result.jsonl)) if row["is_empty"]]
        return dg.AssetCheckResult(
            passed=not empty,
            metadata={"answers": scoring_result.rows, "empty": len(empty), "prompts": dg.MetadataValue.json(empty)},
        )

    @dg.asset_check(asset=scores_key)
    def answers_are_answers(scoring_result: ScoringRef) -> dg.AssetCheckResult:
        """No answer is a loop, unreadable, or without words; a warning where one is."""
        problems = {row["prompt"]: row["problem"] for row in read_jsonl(Path(scoring_result.jsonl)) if row["problem"]}
        return dg.AssetCheckResult(
            passed=not problems,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "answers": scoring_result.rows,
                "no_answers": len(problems),
                "problems": dg.MetadataValue.json(problems),
            },
        )

    @dg.asset_check(asset=scores_key)
    def not_worse_than_champion(scoring_result: ScoringRef) -> dg.AssetCheckResult:
        """On the same questions, the answers are at most `scoring.margin` points of chrF below the champion's.

        A warning where the number of answers cannot tell, or where the champion's answers are to other questions or
        gone: then the model is the next champion all the same. The champion is the best model that was scored so far.
        """
        report = read_scoring_report(Path(scoring_result.report))
        if report.champion is None or report.champion.chrf_gain is None:
            return dg.AssetCheckResult(
                passed=not report.champion_unknown,
                severity=dg.AssetCheckSeverity.WARN,
                description=report.champion_note or _NO_REFERENCE,
            )
        verdict = report.champion.verdict(report.margin)
        return dg.AssetCheckResult(
            passed=verdict in ("better", "not worse"),
            severity=dg.AssetCheckSeverity.ERROR if verdict == "worse" else dg.AssetCheckSeverity.WARN,
            description=report.champion.in_words(report.margin),
            metadata={"champion": report.champion.model_id, **comparison_numbers(report.champion)},
        )

    @dg.asset_check(asset=scores_key)
    def better_than_base_model(scoring_result: ScoringRef) -> dg.AssetCheckResult:
        """On the same questions, the answers are closer to the references than the base model's, beyond chance.

        A warning where they are not: the fine-tuning has achieved nothing that these questions show.
        """
        base = read_scoring_report(Path(scoring_result.report)).base
        if base is None or base.chrf_gain is None:
            note = _NO_REFERENCE if base else "The recipe does not ask for the base model."
            return dg.AssetCheckResult(passed=True, description=note)
        return dg.AssetCheckResult(
            passed=base.is_better,
            severity=dg.AssetCheckSeverity.WARN,
            description=_said(base),
            metadata={"base_model": base.model_id, **comparison_numbers(base)},
        )

    @dg.asset_check(asset=scores_key)
    def p95_latency_is_within_bound(scoring_result: ScoringRef) -> dg.AssetCheckResult:
        """95 % of the answers came within `scoring.max_p95_seconds`."""
        speed = read_scoring_report(Path(scoring_result.report)).speed
        bound = lineage.recipe.scoring.max_p95_seconds
        return dg.AssetCheckResult(
            passed=speed.latency_ms_p95 <= 1000 * bound,
            metadata={
                "latency_ms_p95": speed.latency_ms_p95,
                "latency_ms_p99": speed.latency_ms_p99,
                "max_p95_seconds": bound,
            },
        )

    return [
        every_prompt_was_answered,
        base_model_answered_every_prompt,
        answers_are_not_empty,
        answers_are_answers,
        not_worse_than_champion,
        better_than_base_model,
        p95_latency_is_within_bound,
    ]


def _answered(asked: int, failed: int, left_out: int) -> dg.AssetCheckResult:
    words = [
        f"The model failed at {failed} of {asked} prompts; the asset's metadata has reasons and the container's log."
    ]
    words += [f"{left_out} more were not asked: they leave no room for an answer in `contract.context_tokens`."]
    return dg.AssetCheckResult(
        passed=not failed and not left_out,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(text for text, count in zip(words, (failed, left_out), strict=True) if count) or None,
        metadata={"asked": asked, "failed_prompts": failed, "left_out_prompts": left_out},
    )


_NO_REFERENCE = "None of the questions has a reference answer to compare with."


def _said(other: Comparison) -> str:
    verdict = "better" if other.is_better else "worse" if other.is_worse else "neither better nor worse, beyond chance"
    return f"chrF differs by {other.chrf_gain} on {other.figures.answers} questions: {verdict}."
