"""Retries with back-off: which failures pass by themselves, for how long to retry, and how often."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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

from phi_assets.azureml.connection.errors import AzureMLError
from phi_assets.azureml.connection.refusals import cause
from phi_assets.azureml.connection.sight import Vigil, in_words, is_answered, is_unauthorized, now_watched
from phi_assets.redaction import without_secrets

Log = Callable[[str], None]

T = TypeVar("T")

TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})

OUTAGE_PATIENCE_SECONDS = 15 * 60.0
"""How long a service may fail to answer a read before whoever waits for it gives up."""

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))

_NOWHERE = frozenset({"ResourceGroupNotFound", "SubscriptionNotFound", "ParentResourceNotFound"})

_HICCUP_SECONDS = 60.0
"""How long a service may answer that it is busy or failing before what is watched counts as out of sight."""

_SHORTEST_POLL, _LONGEST_POLL = 0.3, 30.0
_POLL_SHARE = 0.04

_READS_LEFT = "x-ms-ratelimit-remaining-subscription-reads"
_MOST_READS = 250
"""That Azure Resource Manager lets an identity save up; it gets 25 new ones a second.
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""
_FREE_SHARE = 0.05
"""Of them, that a few waiters may have taken before any of them slows down."""
_SECONDS_PER_SHARE, _LONGEST_PAUSE = 180.0, 90.0
"""How much it slows down then. Less, and hundreds swing: all fast while reads are left, all refused a moment later."""


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
    patience_seconds: float | Callable[[BaseException], float] | None = None,
    *,
    passes: Callable[[BaseException], bool] = is_transient,
) -> T:
    """`call()`, repeated while it fails for reasons that pass, waiting 1 to 60 s or what `Retry-After` asks for.

    The SDK and httpx have done their own few quick retries before; this is for outages of minutes, during which a job
    goes on running whether or not anybody looks. A token that the service refuses is replaced once. Where something is
    watched (`sight.watching`), a refused or missing sign-in passes too, and the patience is that of the vigil; a number
    of seconds is the caller's own limit and holds in any case.

    Raises:
        SightLost: what is watched could not be seen for as long as its vigil lasts.
        Exception: whatever `call` raised last, when that does not pass or `patience_seconds` (for that error) are over.
    """
    outage = _Outage(what, log, patience_seconds, passes)
    while True:
        try:
            found = call()
        except Exception as error:
            pause = outage.pause_after(error)
            if pause is None:
                raise
        else:
            outage.has_ended()
            return found
        time.sleep(pause)


class _Outage:
    """One call that fails again and again: for how long it is retried, how often, what is said of it."""

    def __init__(
        self,
        what: str,
        log: Log,
        patience_seconds: float | Callable[[BaseException], float] | None,
        passes: Callable[[BaseException], bool],
    ) -> None:
        # Whoever says how long shall not be kept longer.
        self._watched = None if isinstance(patience_seconds, int | float) else now_watched()
        self._vigil = Vigil(longest_pause_seconds=60.0) if self._watched is None else self._watched.vigil
        self._what = what
        self._log = log
        self._patience_seconds = OUTAGE_PATIENCE_SECONDS if patience_seconds is None else patience_seconds
        self._passes = passes
        self._began: float | None = None
        self._tries = 0
        self._asked_for_token = False
        self._is_out_of_sight = False

    def pause_after(self, error: Exception) -> float | None:
        """Seconds until the call is tried again; None where the error is the caller's.

        Raises:
            SightLost: what is watched could not be seen for long enough.
        """
        now = time.monotonic()
        # From the first failure on: what the call did before, waiting for an operation perhaps, was no outage.
        self._began = now if self._began is None else self._began
        if is_unauthorized(error) and not self._asked_for_token:
            self._asked_for_token = True
            self._log(f"{self._what}: {one_line(error)}; asking once more, with a new token.")
            return 0.0
        is_blind = self._watched is not None and (self._watched.is_lost_by(error) or is_transient(error))
        if not is_blind and not self._passes(error):
            return None
        pause = max(self._exponential(), retry_after(error))
        if now + pause >= _deadline.get():
            return None
        if now - self._began >= self._limit(error, is_blind):
            if self._watched is not None and is_blind:
                raise self._watched.lost(error, one_line(error)) from error
            return None
        self._tell(error, pause, now - self._began)
        return pause

    def has_ended(self) -> None:
        """The call has succeeded."""
        if self._is_out_of_sight and self._watched is not None and self._began is not None:
            self._log(f"{self._watched.what} can be seen again, after {in_words(time.monotonic() - self._began)}.")

    def _limit(self, error: BaseException, is_blind: bool) -> float:
        if is_blind:
            return self._vigil.limit_seconds
        return self._patience_seconds(error) if callable(self._patience_seconds) else self._patience_seconds

    def _exponential(self) -> float:
        first = self._vigil.first_pause_seconds
        grown = first * 2 ** min(self._tries, 20) + random.uniform(0, min(first, 1.0))  # noqa: S311
        self._tries += 1
        return min(grown, self._vigil.longest_pause_seconds)

    def _tell(self, error: BaseException, pause: float, passed: float) -> None:
        if self._watched is None or (is_answered(error) and passed < _HICCUP_SECONDS):
            self._log(f"{self._what}: {one_line(error)}; trying again in {pause:.0f} s")
        elif self._is_out_of_sight:
            self._log(
                f"{self._watched.what} still cannot be seen ({one_line(error)}); looking again in {in_words(pause)}."
            )
        else:
            self._is_out_of_sight = True
            limit = in_words(self._vigil.limit_seconds)
            self._log(
                f"{self._watched.first_words(error, one_line(error))} - looking again for up to {limit}, next in "
                f"{in_words(pause)}."
            )


def find(get: Callable[[], T], what: str, log: Log) -> T | None:
    """`get()`, retried with back-off during outages, or None where there is no such thing.

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


class Crowd:
    """How many others read with the same identity, by what Azure Resource Manager says that it has left of its reads.

    Whoever waits among hundreds cannot see the others, but all of them take from the same reads. Safe for threads.
    """

    def __init__(self) -> None:
        self._left = float(_MOST_READS)

    def observe(self, headers: Mapping[str, str]) -> None:
        """An answer with these headers has just come; one that does not say how many reads are left changes nothing."""
        with suppress(ValueError):
            self._left = float(headers.get(_READS_LEFT, ""))

    def pause(self) -> float:
        """Seconds that a read which has time leaves to the others, from none to 135, the more the fewer are left.

        With n waiters it settles where they ask as often as new reads come: at n / 25 seconds for each of them.
        """
        taken = 1 - min(self._left, _MOST_READS) / _MOST_READS
        pause = min(max(taken - _FREE_SHARE, 0.0) * _SECONDS_PER_SHARE, _LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.5)  # noqa: S311


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
    line = (f"{code}: {first}" if code and code not in first else first).rstrip(".")
    return without_secrets(f"{line}{cause(error)}" if error is not None else line)
