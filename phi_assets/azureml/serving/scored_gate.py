"""What a new model's answers are worth before anybody else sees them: asked by its deployment's name, and judged."""

from collections.abc import Callable, Sequence

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.scoring.asking import ask_model
from phi_assets.changes import in_short
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.evaluation.answers import SCORING_FOLDER, Questions, ensure_answers
from phi_assets.evaluation.scoring import Champion, Question, evaluate
from phi_assets.refs import DeploymentRef, EndpointRef, TrafficRef

Judge = Callable[[], str]
"""Why the new model must not go live, as a clause about it; empty where nothing speaks against it."""


def champions_judge(
    ws: Workspace,
    endpoint: EndpointRef,
    deployment: DeploymentRef,
    prompts: Sequence[Question],
    champion: Champion,
    recipe: Recipe,
    *,
    storage: DataStorage,
    log: Log = silent,
) -> Judge:
    """Says why the deployment's model must not go live: its answers look worse than the champion's by the margin.

    It looks worse where its chrF is below the champion's by more than `scoring.margin`, also where so few answers
    cannot prove it: who doubts that asks more questions. The answers are kept where scoring finds them, so no
    question is asked twice. Without a champion nobody is asked.

    The judge raises:
        ScoringFailed: the deployment answered none of the questions.
    """

    def judge() -> str:
        if champion.rival is None:
            log(f"Not scored before it goes live: {champion.note}")
            return ""
        questions = Questions([prompt.conversation for prompt in prompts], recipe.scoring.parameters())
        # Of an endpoint's traffic only where it is asked.
        asked = TrafficRef(
            endpoint=endpoint.name,
            scoring_uri=endpoint.scoring_uri,
            traffic={deployment.name: 0},
            model_id=deployment.model_id,
            action="reused",
            reason="",
        )
        given, _ = ensure_answers(
            storage,
            storage.folder / SCORING_FOLDER / f"answers-{questions.key(deployment.model_id)}.json",
            lambda: ask_model(
                ws, asked, deployment.model_id, questions, recipe.serving, deployment=deployment.name, log=log
            ),
            force=False,
            log=log,
        )
        counter, scoring = TokenCounter(recipe.contract.tokenizer), recipe.scoring
        report = evaluate(
            prompts, given, counter, scoring.seed, base=None, champion=champion, margin=scoring.margin
        ).report
        if report.champion is None:
            log(f"Not compared before it goes live: {report.champion_note}")
            return ""
        champion_name, figures = in_short(report.champion.model_id), report.champion.in_words(scoring.margin)
        log(f"Scored before it goes live, against champion {champion_name}: {figures}")
        return f"looks worse than champion {champion_name}: {figures.rstrip('.')}" if report.looks_worse else ""

    return judge
