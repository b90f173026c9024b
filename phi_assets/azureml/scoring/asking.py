"""Asking a deployed model many questions at a time."""

import time

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.config.recipe import ServingSection
from phi_assets.evaluation.answers import AnswerSet, Questions, question_id
from phi_assets.refs import TrafficRef


def ask_model(
    ws: Workspace,
    traffic: TrafficRef,
    model_id: str,
    questions: Questions,
    section: ServingSection,
    *,
    deployment: str | None = None,
    log: Log = silent,
) -> AnswerSet:
    """One answer for each conversation, through the endpoint's traffic rules unless a deployment is named.

    As many requests are underway as the deployment takes by its settings.

    Raises:
        ScoringFailed: the endpoint did not answer one of them.
    """
    concurrency = section.max_concurrent_requests * section.instance_count
    with open_scoring(
        ws, traffic.endpoint, traffic.scoring_uri, timeout_seconds=section.request_timeout_seconds, log=log
    ) as client:
        started = time.perf_counter()
        answers = client.ask_each(
            questions.conversations, questions.parameters, deployment=deployment, concurrency=concurrency
        )
        seconds = time.perf_counter() - started
    log(f"{len(answers)} conversations answered by {deployment or traffic.endpoint} in {seconds:.1f} s.")
    return AnswerSet(
        model_id=model_id,
        asked=tuple(map(question_id, questions.conversations)),
        answers=tuple(answers),
        seconds=seconds,
        concurrency=concurrency,
    )
