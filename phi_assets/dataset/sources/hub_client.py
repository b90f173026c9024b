"""How the hub is asked: with retries for a limited time, and one clear message when it is over."""

import re
import time
from collections import Counter
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TypeVar

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.disk import full_message, is_full
from phi_assets.redaction import censor_log, without_secrets

Log = Callable[[str], None]
T = TypeVar("T")

ATTEMPTS = 4
SILENT_REQUEST_TIMES = 3
"""An attempt ends when nothing good has come for so many times as long as one request may wait."""
SAME_PIECE_TIMES = 5
"""The library goes on for ever with a file that breaks off, as long as anything of it comes."""
LONGEST_PAUSE_SECONDS = 300
"""The hub counts requests in windows of five minutes; who asks to wait longer is not waited for.

<https://huggingface.co/docs/hub/rate-limits>
"""
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0

ELSEWHERE = "use `source: local` with a `path` that holds the files, or `source: bundled`"

_TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)
_RESOLVED = re.compile(r"/resolve/(?P<commit>[0-9a-f]{40})/")


class HubSilentError(httpx2.TransportError):
    """The hub has not answered, or not with anything but refusals, for as long as an attempt may take."""


class OtherRevisionError(httpx2.TransportError):
    """The hub answered with another commit than it was asked for."""


def ask(
    question: Callable[[], T],
    repo: str,
    revision: str,
    directory: Path | None,
    log: Log,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
) -> T:
    """What `question` brings from the hub, after a limited number of attempts.

    Refusals that pass (408, 429, 5xx), silence, broken connections and answers of another commit are retried, with
    the pause that `Retry-After` or the hub's `RateLimit` asks for, or else a few seconds. A request may wait for as
    long as `HF_HUB_DOWNLOAD_TIMEOUT` says, 10 seconds unless set, for a connection and for each piece of the answer.

    A hub that is silent, refuses or lies ends this within five minutes: four attempts of about 40 seconds, of about 70
    where a file breaks off again and again, and pauses of 1, 2 and 4 seconds. One that asks for pauses of up to
    `longest_pause_seconds` gets three of them. A download that goes on, however slowly, takes as long as it takes.

    Raises:
        DatasetError: the one message that explains why it failed in the end; `directory` is where downloads go.
    """
    _install()

    def attempt() -> T:
        _patience.start()
        return question()

    exponential = wait_exponential_jitter(initial=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS)
    retrying = Retrying(
        retry=retry_if_exception(_is_transient),
        stop=lambda state: state.attempt_number >= ATTEMPTS or _asked_pause(_error(state)) > longest_pause_seconds,
        wait=lambda state: max(exponential(state), _asked_pause(_error(state))),
        before_sleep=lambda state: log(
            f"{_short(_error(state))}; asking the hub again in {state.upcoming_sleep:.0f} s"
        ),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except DatasetError:
        raise
    except Exception as error:
        # Two libraries and what they stand on raise what they like; all of it means that nothing was fetched.
        raise DatasetError(_explanation(error, repo, revision, directory)) from error


def prove_undisturbed() -> None:
    """Every request since the attempt began has been answered, and none refused for a while.

    `datasets` takes some failures for "there is no such file", and would go on with less than there is.

    Raises:
        HubSilentError: something was not answered.
    """
    if (trouble := _patience.trouble()) is not None:
        raise HubSilentError("a request was not answered") from trouble


class _Patience:
    """Hooks of the client that all of `huggingface_hub` and `datasets` share."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """An attempt begins."""
        self._heard = time.monotonic()
        self._pending: set[httpx2.Request] = set()
        self._refusal: Exception | None = None
        self._not_before = self._heard
        self._pieces: Counter[tuple[str, str]] = Counter()

    def trouble(self) -> Exception | None:
        """What has gone wrong since the attempt began, whether it was said or not."""
        return self._refusal or (HubSilentError("no answer") if self._pending else None)

    def before(self, request: httpx2.Request) -> None:
        """The request waits for so long and no longer, whatever the library thinks; it is not sent at all in vain."""
        from huggingface_hub import constants

        limit = _request_seconds()
        if self._refusal is not None and time.monotonic() < self._not_before:
            raise self._refusal
        if time.monotonic() - self._heard > SILENT_REQUEST_TIMES * limit:
            raise HubSilentError(f"no good answer for {SILENT_REQUEST_TIMES * limit:.0f} s")
        if piece := request.headers.get("Range"):
            self._pieces[str(request.url), piece] += 1
            if self._pieces[str(request.url), piece] > SAME_PIECE_TIMES:
                raise HubSilentError(f"{request.url} has broken off {SAME_PIECE_TIMES} times at the same place")
        wanted = request.extensions.get("timeout") or {}
        request.extensions["timeout"] = {
            kind: min(wanted.get(kind) or limit, limit) for kind in ("connect", "read", "write", "pool")
        }
        # `datasets` counts downloads elsewhere, and does not mind when it cannot.
        if str(request.url).startswith(constants.ENDPOINT):
            self._pending.add(request)

    def after(self, response: httpx2.Response) -> None:
        """A refusal that passes is an error at once: the libraries' own retries know no end to the pauses."""
        from huggingface_hub import constants
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils import hf_raise_for_status

        self._pending.discard(response.request)
        if response.status_code in _TRANSIENT_STATUS:
            try:
                hf_raise_for_status(response)
            except HfHubHTTPError as error:
                self._refusal = error
                self._not_before = time.monotonic() + _asked_pause(error)
                raise
        self._heard = time.monotonic()
        wanted = _RESOLVED.search(response.request.url.path)
        served = response.headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT)
        if wanted and served and served != wanted["commit"]:
            self._refusal = OtherRevisionError(served)
            raise self._refusal


_patience = _Patience()


@cache
def _install() -> None:
    """The hub's client has our hooks beside its own."""
    from huggingface_hub import get_session, set_client_factory

    # It writes down every address, and those of files have the signature that opens them.
    censor_log("httpx2")
    own = get_session().event_hooks
    hooks = {
        "request": [*own["request"], _patience.before],
        "response": [*own["response"], _patience.after],
    }
    set_client_factory(lambda: httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=_request_seconds()))


def _request_seconds() -> float:
    from huggingface_hub import constants

    return float(max(constants.HF_HUB_DOWNLOAD_TIMEOUT, constants.HF_HUB_ETAG_TIMEOUT))


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None
    return error


def _refusal_in(error: BaseException) -> httpx2.Response | None:
    """The answer that led to the error, where it was a refusal that passes."""
    responses = (getattr(cause, "response", None) for cause in _causes(error))
    return next((one for one in responses if one is not None and one.status_code in _TRANSIENT_STATUS), None)


def _asked_pause(error: BaseException) -> float:
    """Seconds that the hub asks to wait, else 0: `Retry-After` as a number or a date, or the rest of its window.

    <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
    """
    from huggingface_hub.utils import parse_ratelimit_headers

    if (response := _refusal_in(error)) is None:
        return 0.0
    asked = response.headers.get("Retry-After", "").strip()
    if not asked:
        window = parse_ratelimit_headers(response.headers)
        return float(window.reset_in_seconds) if window is not None and window.remaining == 0 else 0.0
    try:
        return float(asked) if asked.isdigit() else max(parsedate_to_datetime(asked).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


def _is_transient(error: BaseException) -> bool:
    from huggingface_hub import errors

    causes = _causes(error)
    if any(isinstance(cause, errors.OfflineModeIsEnabled) or is_full(cause) for cause in causes):
        return False
    if _refusal_in(error) is not None:
        return True
    if isinstance(error, errors.HfHubHTTPError):
        return False
    # "Not in the cache" is how the hub's client says that it could not reach the hub.
    return any(isinstance(cause, httpx2.TransportError) for cause in causes) or isinstance(
        error, (ConnectionError, errors.LocalEntryNotFoundError)
    )


def _explanation(error: Exception, repo: str, revision: str, directory: Path | None) -> str:
    from huggingface_hub import constants, errors

    causes = _causes(error)

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    hub = constants.ENDPOINT
    if directory is not None and any(is_full(cause) for cause in causes):
        message = full_message(directory)
    elif caused_by(errors.GatedRepoError):
        message = f"{repo} is gated: accept its terms at {hub}/datasets/{repo} and set HF_TOKEN"
    elif caused_by(errors.RevisionNotFoundError):
        message = f"{repo} has no revision {revision!r}: give a branch, a tag or a commit of it as dataset.revision"
    elif caused_by(errors.RepositoryNotFoundError):
        message = f"{hub} has no data set {repo!r}, or it is private: check dataset.repo, or set HF_TOKEN"
    elif caused_by(errors.HFValidationError):
        message = f"dataset.repo {repo!r} is not the name of a repository: expected <owner>/<name>"
    elif caused_by(errors.OfflineModeIsEnabled):
        message = f"{repo}@{revision} has not been downloaded and HF_HUB_OFFLINE is set: unset it, or {ELSEWHERE}"
    elif others := [cause for cause in causes if isinstance(cause, OtherRevisionError)]:
        message = (
            f"The hub answered with another revision of {repo} than {revision}: {others[0]}. A mirror or proxy is "
            f"stale: set HF_ENDPOINT to the hub itself, or {ELSEWHERE}"
        )
    elif (refusal := _refusal_in(error)) is not None and refusal.status_code == 429:
        pause = _asked_pause(error)
        message = (
            f"{hub} limits how often it is asked, and {repo}@{revision} is over the limit"
            + (f": it asks to wait {pause:,.0f} s" if pause else "")
            + f". Run again later, set HF_TOKEN, whose limit is higher, or {ELSEWHERE}"
        )
    elif _is_transient(error):
        reason = next((cause for cause in causes if isinstance(cause, HubSilentError)), causes[-1])
        message = (
            f"{hub} cannot be reached for {repo}@{revision} ({_short(reason)}): check network and "
            f"proxy, pin dataset.revision to a commit that has been downloaded, or {ELSEWHERE}"
        )
    else:
        message = f"Fetching {repo}@{revision} from {hub} failed ({_short(error)}); {ELSEWHERE}"
    return message


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, outermost first."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    return causes


def _short(error: BaseException) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {without_secrets(' '.join(str(error).split()))[:300]}"
