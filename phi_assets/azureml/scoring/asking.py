"""Asking a deployed model many questions at a time."""

import threading
import time

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ModelFailed, ScoringFailed
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.azureml.scoring.container_log import last_lines
from phi_assets.config.recipe import ServingSection
from phi_assets.evaluation.answers import Answer, AnswerSet, Failure, Questions, question_id
from phi_assets.refs import TrafficRef

_MOST_WITHOUT_ANSWER = 8
"""Questions in a row from the first on: a model that fails at all of these fails at every one, and each takes time."""

_MOST_LOST = 3
"""Questions in a row for which the endpoint was not there, each for as long as requests are repeated."""


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

    As many requests are underway as the deployment takes by its settings. A question that the model fails at has a
    `Failure` in the place of its answer, and the container's last lines come along.

    Raises:
        ScoringFailed: no question was answered, or the endpoint is not there any more.
    """
    concurrency = section.max_concurrent_requests * section.instance_count
    asked = deployment or max(traffic.traffic, key=lambda name: traffic.traffic[name])
    with open_scoring(
        ws, traffic.endpoint, traffic.scoring_uri, timeout_seconds=section.request_timeout_seconds, log=log
    ) as client:
        started = time.perf_counter()
        try:
            outcomes = client.try_each(
                questions.conversations,
                questions.parameters,
                deployment=deployment,
                concurrency=concurrency,
                goes_on=_Hope(),
            )
        except ModelFailed as failed:
            raise _nothing_answered(ws, traffic.endpoint, asked, failed, log) from failed
        seconds = time.perf_counter() - started
    failures = [outcome for outcome in outcomes if isinstance(outcome, ScoringFailed)]
    if failures and len(failures) == len(outcomes):
        raise _nothing_answered(ws, traffic.endpoint, asked, failures[0], log) from failures[0]
    answered = len(outcomes) - len(failures)
    log(f"{answered} of {len(outcomes)} conversations answered by {asked} in {seconds:.1f} s.")
    for failed in failures:
        log(f"Not answered: {failed}")
    return AnswerSet(
        model_id=model_id,
        asked=tuple(map(question_id, questions.conversations)),
        answers=tuple(map(_kept, outcomes)),
        seconds=seconds,
        concurrency=concurrency,
        container_log=last_lines(ws, traffic.endpoint, asked, log=log) if failures else "",
    )


class _Hope:
    """Whether it is worth asking on, outcome by outcome; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = self._failed = self._lost = 0

    def __call__(self, outcome: Answer | ScoringFailed) -> bool:
        with self._lock:
            failed, of_the_model = isinstance(outcome, ScoringFailed), isinstance(outcome, ModelFailed)
            self._answered += not failed
            self._failed += failed
            self._lost = self._lost + 1 if failed and not of_the_model else 0
            return self._lost < _MOST_LOST and (self._answered > 0 or self._failed < _MOST_WITHOUT_ANSWER)


def _kept(outcome: Answer | ScoringFailed) -> Answer | Failure:
    if isinstance(outcome, Answer):
        return outcome
    return Failure(reason=str(outcome), is_models=isinstance(outcome, ModelFailed))


def _nothing_answered(ws: Workspace, endpoint: str, deployment: str, failed: ScoringFailed, log: Log) -> ScoringFailed:
    lines = last_lines(ws, endpoint, deployment, log=log)
    return ScoringFailed(f"Deployment {deployment} of endpoint {endpoint} answers no question. {failed}\n{lines}")
