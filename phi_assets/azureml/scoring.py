"""Asking a deployed model: an HTTP client of the endpoint's own.

The SDK's `invoke` is not used: it keeps headers, deployment and key of earlier calls in one dictionary for the whole
process, and retries a failing model.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.errors import ScoringFailed
from phi_assets.azureml.retry import Log, one_line, retry_after, ride_out, silent

Conversation = Sequence[Mapping[str, str]]

T = TypeVar("T")

_ATTEMPTS = 5
_RETRIED_STATUS = frozenset({408, 424, 429, 503})
_MARGIN_SECONDS = 10.0
_MODEL_STATUS_HEADER = "ms-azureml-model-error-statuscode"

# https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
_ADVICE = {
    401: "The key was renewed meanwhile, or is not this endpoint's; run again.",
    404: "No deployment gets traffic; materialize live_traffic.",
    408: "The model took longer than `serving.request_timeout_seconds`; raise it or lower `scoring.max_new_tokens`.",
    424: "The model itself failed; its log has the reason.",
    429: "More requests than the deployment takes at once; raise `serving.instance_count`.",
}


@dataclass(frozen=True)
class Answer:
    """What the model said to one conversation."""

    text: str
    seconds: float
    """From sending the successful request to having read its answer."""
    deployment: str | None
    """Which deployment answered, where the endpoint says so."""


@dataclass(frozen=True)
class Answers:
    """What the model said, in the order of the conversations."""

    texts: tuple[str, ...]
    seconds: float
    """From sending the successful request to having read its answer."""
    deployment: str | None
    """Which deployment answered, where the endpoint says so."""


@dataclass
class ScoringClient:
    """Asks one endpoint. Its key lives in memory only. Safe for use by several threads."""

    scoring_uri: str
    key: str = field(repr=False)
    http: httpx.Client = field(repr=False)
    log: Log = silent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self.http.close()

    def ask(
        self,
        conversations: Sequence[Conversation],
        parameters: Mapping[str, Any],
        *,
        deployment: str | None = None,
    ) -> Answers:
        """The model's next turn for each conversation, in one request.

        `deployment` addresses one deployment past the traffic rules. Requests that were throttled, timed out or hit a
        failing instance are repeated up to four times.

        Raises:
            ScoringFailed: naming the status, the service's reason and what to do.
        """
        body = {
            "input_data": {
                "input_string": [[dict(turn) for turn in conversation] for conversation in conversations],
                "parameters": dict(parameters),
            },
            "params": {},
        }
        headers = {"Authorization": f"Bearer {self.key}"}
        if deployment is not None:
            headers["azureml-model-deployment"] = deployment
        response, seconds = self._post(body, headers)
        texts = _texts(response)
        if len(texts) != len(conversations):
            raise ScoringFailed(
                f"{self.scoring_uri} gave {len(texts)} answers to {len(conversations)} conversations: "
                f"{response.text[:200]!r}"
            )
        return Answers(texts, seconds, response.headers.get("azureml-model-deployment"))

    def ask_each(
        self,
        conversations: Sequence[Conversation],
        parameters: Mapping[str, Any],
        *,
        deployment: str | None = None,
        concurrency: int = 1,
    ) -> list[Answer]:
        """The model's next turn for each conversation, one request each, at most `concurrency` at a time, in order.

        The service's own measure of what a deployment takes is `max_concurrent_requests * instance_count`.

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
    ) -> list[Answer | ScoringFailed]:
        """As `ask_each`, but a failed request is a value like any other and ends nothing."""

        def attempt(turns: Conversation) -> Answer | ScoringFailed:
            try:
                return self._ask_one(turns, parameters, deployment)
            except ScoringFailed as failure:
                return failure

        return _each(attempt, conversations, concurrency)

    def _ask_one(self, turns: Conversation, parameters: Mapping[str, Any], deployment: str | None) -> Answer:
        answers = self.ask([turns], parameters, deployment=deployment)
        return Answer(answers.texts[0], answers.seconds, answers.deployment)

    def _post(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[httpx.Response, float]:
        def send() -> tuple[httpx.Response, float]:
            started = time.perf_counter()
            response = self.http.post(self.scoring_uri, json=body, headers=headers)
            seconds = time.perf_counter() - started
            response.raise_for_status()
            return response, seconds

        exponential = wait_exponential_jitter(multiplier=0.5, max=20)
        try:
            return Retrying(
                retry=retry_if_exception(_is_worth_repeating),
                stop=stop_after_attempt(_ATTEMPTS),
                wait=lambda state: max(exponential(state), retry_after(_error(state))),
                before_sleep=lambda state: self.log(f"Endpoint: {_reason(_error(state))}; trying again."),
                reraise=True,
            )(send)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise ScoringFailed(
                f"{self.scoring_uri} answered {_reason(error)}. {_ADVICE.get(status, '')}".strip()
            ) from error
        except httpx.TransportError as error:
            raise ScoringFailed(f"{self.scoring_uri} cannot be reached: {one_line(error)}") from error


def open_scoring(
    ws: Workspace, endpoint: str, scoring_uri: str, *, timeout_seconds: float, log: Log = silent
) -> ScoringClient:
    """A client of the endpoint, with its primary key fetched now. Close it after use.

    `timeout_seconds` is the deployment's request timeout; the client waits a little longer, so that the endpoint's own
    408 is seen.

    Raises:
        ScoringFailed: the endpoint has no key to give.
    """
    keys: Any = ride_out(lambda: ws.ml.online_endpoints.get_keys(endpoint), f"keys of {endpoint}", log)
    key = getattr(keys, "primary_key", None)
    if not key:
        raise ScoringFailed(f"Endpoint {endpoint} gives no key; its authentication is not 'key'.")
    timeout = httpx.Timeout(timeout_seconds + _MARGIN_SECONDS, connect=15.0)
    return ScoringClient(scoring_uri, str(key), _http(ws, timeout), log)


def _http(ws: Workspace, timeout: httpx.Timeout) -> httpx.Client:
    # Callers bound what is underway; every connection is kept, because a TLS handshake costs more than a short answer.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.Client(verify=ws.tls_context(), timeout=timeout, limits=limits)


def _each(ask: Callable[[Conversation], T], conversations: Sequence[Conversation], concurrency: int) -> list[T]:
    pool = ThreadPoolExecutor(max(1, min(concurrency, len(conversations))), thread_name_prefix="scoring")
    try:
        asked = [pool.submit(ask, turns) for turns in conversations]
        ended = wait(asked, return_when=FIRST_EXCEPTION).done
        for future in asked:
            if future in ended:
                future.result()  # raises where it failed
        return [future.result() for future in asked]
    finally:
        # An interrupt must not wait for what is underway; the client's own timeouts end it.
        pool.shutdown(wait=False, cancel_futures=True)


def _texts(response: httpx.Response) -> tuple[str, ...]:
    """The answers in either shape that chat models of the registry give: `[{"0": text}, ...]` or `{"output": text}`."""
    try:
        content = response.json()
    except ValueError as error:
        raise ScoringFailed(f"{response.url} did not answer JSON: {response.text[:200]!r}") from error
    if isinstance(content, dict):
        content = content.get("output", content.get("predictions"))
    items = content if isinstance(content, list) else [content]
    texts = [_text(item) for item in items]
    if not texts or any(text is None for text in texts):
        raise ScoringFailed(f"{response.url} answered something without answers in it: {response.text[:200]!r}")
    return tuple(text for text in texts if text is not None)


def _text(item: Any) -> str | None:
    if isinstance(item, dict):
        item = item.get("output", item.get("0", next(iter(item.values()), None) if len(item) == 1 else None))
    return item if isinstance(item, str) else None


def _is_worth_repeating(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        # A model that refuses a request will refuse it again; the front end wraps its answer in a 424.
        by_model = error.response.headers.get(_MODEL_STATUS_HEADER, "")
        refused = by_model.startswith("4") and by_model not in ("408", "429")
        return error.response.status_code in _RETRIED_STATUS and not refused
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ReadTimeout)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _reason(error: BaseException | None) -> str:
    if not isinstance(error, httpx.HTTPStatusError):
        return one_line(error)
    response = error.response
    model = response.headers.get("ms-azureml-model-error-reason")
    status = response.headers.get(_MODEL_STATUS_HEADER)
    detail = f"{model} (model status {status})" if model else " ".join(response.text[:300].split())
    return f"{response.status_code} {detail}".strip()
