"""Asking a deployed model: an HTTP client of the endpoint's own.

The SDK's `invoke` is not used: it keeps headers, deployment and key of earlier calls in one dictionary for the whole
process, and retries a failing model.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, cast

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, sleep_using_event, wait_exponential_jitter

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ModelFailed, ScoringFailed
from phi_assets.azureml.connection.retry import Log, retry_after, silent
from phi_assets.azureml.scoring.auth import EndpointCredential, endpoint_credential
from phi_assets.azureml.scoring.failures import failure, reason, repeats
from phi_assets.azureml.scoring.payload import Conversation, request_body, texts_of
from phi_assets.azureml.scoring.shared_http import ClientClosed, SharedClient
from phi_assets.evaluation.answers import Answer

T = TypeVar("T")

_DEPLOYMENT_HEADER = "azureml-model-deployment"
_MARGIN_SECONDS = 10.0


@dataclass(frozen=True)
class Answers:
    """What the model said, in the order of the conversations."""

    texts: tuple[str, ...]
    seconds: float
    """From sending the successful request to having read its answer; of several requests, their sum."""
    deployment: str | None
    """Which deployment answered, where the endpoint says so."""


@dataclass
class ScoringClient:
    """Asks one endpoint. Each request has its own headers, and the secret lives in memory only. Thread-safe."""

    scoring_uri: str
    credential: EndpointCredential = field(repr=False)
    http: SharedClient = field(repr=False)
    log: Log = field(default=silent, repr=False)
    _closed: threading.Event = field(default_factory=threading.Event, repr=False, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the requests that are still underway in other threads, which are not repeated, and the connections."""
        self._closed.set()
        self.http.close()

    def ask(
        self,
        conversations: Sequence[Conversation],
        parameters: Mapping[str, Any],
        *,
        deployment: str | None = None,
    ) -> Answers:
        """The model's next turn for each conversation, in one request where the deployment answers all of it.

        `deployment` addresses one deployment past the traffic rules. A request that was throttled, timed out or hit a
        failing instance is repeated a few times.

        Raises:
            ModelFailed: the model fails at this request; another one may succeed.
            ScoringFailed: naming the status, the service's reason and what to do.
        """
        headers = {} if deployment is None else {_DEPLOYMENT_HEADER: deployment}
        response, seconds = self._post(request_body(conversations, parameters), headers)
        answered = response.headers.get(_DEPLOYMENT_HEADER)
        if deployment is not None and answered is not None and answered.lower() != deployment.lower():
            raise ScoringFailed(f"{self.scoring_uri} was asked for deployment {deployment}, but {answered} answered.")
        said = texts_of(response)
        others = conversations[len(said.texts) :] if said.of_first_only else ()
        rest = [self.ask([turns], parameters, deployment=deployment) for turns in others]
        texts = (*said.texts, *(answers.texts[0] for answers in rest))
        if len(texts) != len(conversations):
            raise ModelFailed(
                f"{self.scoring_uri} gave {len(texts)} answers to {len(conversations)} conversations: "
                f"{response.text[:200]!r}"
            )
        return Answers(texts, seconds + sum(answers.seconds for answers in rest), answered)

    def ask_each(
        self,
        conversations: Sequence[Conversation],
        parameters: Mapping[str, Any],
        *,
        deployment: str | None = None,
        concurrency: int = 1,
    ) -> list[Answer]:
        """The model's next turn for each conversation, one request each, at most `concurrency` at a time, in order.

        The service's own measure of what a deployment takes is `max_concurrent_requests * instance_count`; it refuses
        more than twice as many.

        Raises:
            ScoringFailed: a request failed; those that had not begun are not sent.
        """
        return _each(lambda turns: self._ask_one(turns, parameters, deployment), conversations, concurrency)

    def try_each(
        self,
        conversations: Sequence[Conversation],
        parameters: Mapping[str, Any],
        *,
        deployment: str | None = None,
        concurrency: int = 1,
        goes_on: Callable[[Answer | ScoringFailed], bool] = lambda _: True,
    ) -> list[Answer | ScoringFailed]:
        """As `ask_each`, but a failed request is a value like any other and ends nothing while `goes_on` says so.

        It is called with each outcome, from the threads that ask.

        Raises:
            ScoringFailed: the failure with which it did not go on; those that had not begun are not sent.
        """

        def attempt(turns: Conversation) -> Answer | ScoringFailed:
            try:
                outcome: Answer | ScoringFailed = self._ask_one(turns, parameters, deployment)
            except ScoringFailed as failed:
                outcome = failed
            if not goes_on(outcome) and isinstance(outcome, ScoringFailed):
                raise outcome
            return outcome

        return _each(attempt, conversations, concurrency)

    def _ask_one(self, turns: Conversation, parameters: Mapping[str, Any], deployment: str | None) -> Answer:
        answers = self.ask([turns], parameters, deployment=deployment)
        return Answer(answers.texts[0], answers.seconds, answers.deployment)

    def _post(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[httpx.Response, float]:
        exponential = wait_exponential_jitter(multiplier=0.5, max=20)
        try:
            return Retrying(
                retry=retry_if_exception(lambda error: repeats(error) > 0),
                stop=lambda state: self._closed.is_set() or state.attempt_number > repeats(_error(state)),
                wait=lambda state: max(exponential(state), retry_after(_error(state))),
                sleep=sleep_using_event(self._closed),
                before_sleep=lambda state: self.log(f"Endpoint: {reason(_error(state))}; trying again."),
                reraise=True,
            )(self._send, body, headers)
        except (httpx.HTTPStatusError, httpx.RequestError) as error:
            raise failure(self.scoring_uri, error) from error
        except ClientClosed as error:
            raise ScoringFailed(f"{self.scoring_uri} is not asked any more: its client is closed.") from error

    def _send(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[httpx.Response, float]:
        with self.http.use():
            secret = self.credential.secret()
            response, seconds = self._send_with(secret, body, headers)
            # Keys can be regenerated and tokens revoked at any time.
            if response.status_code == 401 and self.credential.is_renewed(secret):
                response, seconds = self._send_with(self.credential.secret(), body, headers)
        response.raise_for_status()
        return response, seconds

    def _send_with(self, secret: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[httpx.Response, float]:
        started = time.perf_counter()
        authorized = {**headers, "Authorization": f"Bearer {secret}"}
        response = self.http.post(self.scoring_uri, json=body, headers=authorized)
        return response, time.perf_counter() - started


def open_scoring(
    ws: Workspace, endpoint: str, scoring_uri: str, *, timeout_seconds: float, log: Log = silent
) -> ScoringClient:
    """A client of the endpoint, with a secret for its authentication mode fetched now. Close it after use.

    `timeout_seconds` is the deployment's request timeout; the client waits a little longer, so that the endpoint's own
    408 is seen.

    Raises:
        ScoringFailed: the endpoint has no key or token to give.
    """
    credential = endpoint_credential(ws, endpoint, log)
    credential.secret()
    # Callers bound what is underway. Every connection is kept: a TLS handshake costs more than a short answer.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    timeout = httpx.Timeout(timeout_seconds + _MARGIN_SECONDS, connect=15.0)
    http = httpx.Client(verify=ws.tls_context(), timeout=timeout, limits=limits)
    return ScoringClient(scoring_uri, credential, SharedClient(http), log)


def _each(ask: Callable[[Conversation], T], conversations: Sequence[Conversation], concurrency: int) -> list[T]:
    over = threading.Event()

    def unless_over(turns: Conversation) -> T | None:
        if over.is_set():
            return None
        try:
            return ask(turns)
        except BaseException:
            over.set()
            raise

    pool = ThreadPoolExecutor(max(1, min(concurrency, len(conversations))), thread_name_prefix="scoring")
    try:
        asked = [pool.submit(unless_over, turns) for turns in conversations]
        for future in wait(asked, return_when=FIRST_EXCEPTION).done:
            future.result()  # raises where it failed
        return [cast("T", future.result()) for future in asked]
    finally:
        over.set()
        # An interrupt must not wait for what is underway; closing the client ends it.
        pool.shutdown(wait=False, cancel_futures=True)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
