"""Patience: which failures pass by themselves, how long to sit them out, and how often to ask."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import httpx
from azure.core.exceptions import (
    HttpResponseError,
    IncompleteReadError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from phi_assets.azureml.connection.errors import AzureMLError
from phi_assets.redaction import without_secrets

Log = Callable[[str], None]

T = TypeVar("T")

TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})

OUTAGE_PATIENCE_SECONDS = 15 * 60.0
"""How long a service may fail to answer a read before whoever waits for it gives up."""

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))

_NOWHERE = frozenset({"ResourceGroupNotFound", "SubscriptionNotFound", "ParentResourceNotFound"})

_SHORTEST_POLL, _LONGEST_POLL = 0.3, 30.0
_POLL_SHARE = 0.04


def silent(_: str) -> None:
    """A log for callers that want none."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Nothing inside the block sits an outage out beyond this time, for callers whose own time is limited."""
    token = _deadline.set(min(time.monotonic() + seconds, _deadline.get()))
    try:
        yield
    finally:
        _deadline.reset(token)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed a little later."""
    if isinstance(error, ServiceRequestError | ServiceResponseError | IncompleteReadError | httpx.TransportError):
        return True
    if isinstance(error, HttpResponseError):
        return error.status_code in TRANSIENT_STATUS
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in TRANSIENT_STATUS


def ride_out(
    call: Callable[[], T],
    what: str,
    log: Log,
    patience_seconds: float | Callable[[BaseException], float] = OUTAGE_PATIENCE_SECONDS,
    *,
    passes: Callable[[BaseException], bool] = is_transient,
) -> T:
    """`call()`, repeated while it fails for reasons that pass, waiting 1 to 60 s or what `Retry-After` asks for.

    The SDK and httpx have done their own few quick retries before; this is for outages of minutes, during which a job
    goes on running whether or not anybody looks.

    Raises:
        Exception: whatever `call` raised last, when that does not pass or `patience_seconds` (for that error) are over.
    """

    failing_since: list[float] = []

    def error_of(state: RetryCallState) -> BaseException:
        error = state.outcome.exception() if state.outcome else None
        assert error is not None
        return error

    def is_over(state: RetryCallState) -> bool:
        # From the first failure on: what the call did before, waiting for an operation perhaps, was no outage.
        failing_since.append(time.monotonic())
        error = error_of(state)
        limit = patience_seconds(error) if callable(patience_seconds) else patience_seconds
        passed = failing_since[-1] - failing_since[0]
        return passed >= limit or failing_since[-1] + state.upcoming_sleep >= _deadline.get()

    exponential = wait_exponential_jitter(multiplier=1, max=60)
    return Retrying(
        retry=retry_if_exception(passes),
        stop=is_over,
        wait=lambda state: max(exponential(state), retry_after(error_of(state))),
        before_sleep=lambda state: log(
            f"{what}: {one_line(error_of(state))}; trying again in {state.upcoming_sleep:.0f} s"
        ),
        reraise=True,
    )(call)


def find(get: Callable[[], T], what: str, log: Log) -> T | None:
    """`get()`, outages sat out, or None where there is no such thing.

    Raises:
        Exception: whatever `get` raised last, as `ride_out` does; also where there is not even a workspace to look in.
    """
    return ride_out(lambda: get_or_none(get), what, log)


def retry_after(error: BaseException | None) -> float:
    """Seconds that the failed answer asks to wait (`Retry-After` as a number), else 0."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    try:
        return min(float(headers.get("Retry-After") or 0), 300.0)
    except ValueError:
        return 0.0


def poll_delays() -> Iterator[float]:
    """Seconds to sleep before each further look at something that takes time, from 0.3 to 30.

    A delay is a fixed share of the time that has passed, so that what is noticed late is noticed at most about 5 % of
    its duration late, be it seconds or hours. Jitter keeps many waiters from asking in step.
    """
    started = time.monotonic()
    while True:
        share = (time.monotonic() - started) * _POLL_SHARE
        yield min(max(share, _SHORTEST_POLL), _LONGEST_POLL) * random.uniform(0.85, 1.15)  # noqa: S311


def wait_until(done: Callable[[], bool], timeout_seconds: float, failure: Callable[[], AzureMLError]) -> None:
    """Poll until `done()`.

    Raises:
        AzureMLError: what `failure()` returns, when it is not done after `timeout_seconds`.
    """
    deadline = time.monotonic() + timeout_seconds
    delays = poll_delays()
    while not done():
        if time.monotonic() > deadline:
            raise failure()
        time.sleep(next(delays))


def get_or_none(get: Callable[[], T]) -> T | None:
    """`get()`, or None where there is no such thing; an error where there is not even a workspace to look in."""
    try:
        return get()
    except ResourceNotFoundError as error:
        if getattr(error.error, "code", None) in _NOWHERE:
            raise
        return None


def one_line(error: BaseException | None) -> str:
    """The first meaningful line of an error, without its full stop: the service's own message where there is one."""
    if isinstance(error, httpx.HTTPStatusError):
        # Its own text has the whole address, whose query may hold a signature.
        answer = error.response
        return f"{answer.status_code} {answer.reason_phrase} for {answer.request.method} {answer.request.url.path}"
    service_error = getattr(error, "error", None)
    message = getattr(service_error, "message", None) or getattr(error, "message", None) or str(error)
    code = getattr(service_error, "code", None)
    first = next((line.strip() for line in str(message).splitlines() if line.strip()), type(error).__name__)
    # The service may name a place with the signature that opens it.
    return without_secrets(f"{code}: {first}" if code and code not in first else first).rstrip(".")
