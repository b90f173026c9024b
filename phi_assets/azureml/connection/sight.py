"""Out of sight: something runs on and is billing while the service cannot be asked about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import httpx
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

from phi_assets.azureml.connection.errors import SightLost
from phi_assets.azureml.connection.refusals import POLICY, error_codes

_REFUSED = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})
_CLOSED = (
    "have the role `AzureML Data Scientist` on the workspace given back to this identity, or connect to the network "
    "that the workspace lets in"
)
_NOBODY_THERE = "look at this machine's network, its DNS and its proxy"
_FAILING = "nothing needs to be done but to wait for the service"


@dataclass(frozen=True)
class Vigil:
    """How long, and how often, something is looked for that cannot be seen."""

    limit_seconds: float = 12 * 3600.0
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 300.0


@dataclass(frozen=True)
class Watched:
    """Something that exists, and what its owner has to be told while it cannot be seen."""

    what: str
    """Its kind and name, for example `Job phi3-ft-...-r1`."""
    url: str
    """Its page in Azure ML Studio."""
    sign_in: str
    """What to do where there is no token."""
    vigil: Vigil = field(default_factory=Vigil)
    goes_on: str = "It runs on and is billing"
    waits_for_roles: bool = True
    """Whether a refusal for want of a role (403) is waited out as well."""

    def is_lost_by(self, error: BaseException) -> bool:
        """Whether this refusal keeps it out of sight, and whoever watches it waits for another answer."""
        return is_refused(error) and (self.waits_for_roles or _status(error) != httpx.codes.FORBIDDEN)

    def first_words(self, error: BaseException, cause: str) -> str:
        """What is said as soon as it cannot be seen."""
        return f"{self.what} cannot be seen: {cause}. {self.goes_on}: {self._advice(error)}, or end it at {self.url}"

    def lost(self, error: BaseException, cause: str) -> SightLost:
        """The error after the last look: the same words, and that nothing was changed."""
        return SightLost(
            f"{self.what} could not be seen for {in_words(self.vigil.limit_seconds)}: {cause}. {self.goes_on}, and "
            f"nothing was done to it: {self._advice(error)}, or end it in Studio. Run again: it is found by its name.",
            studio_url=self.url,
        )

    def _advice(self, error: BaseException) -> str:
        status = _status(error)
        if status == httpx.codes.FORBIDDEN:
            return _CLOSED
        if status is None and is_refused(error):
            # No token: it may not be the sign-in but the way to it.
            return f"{self.sign_in}, or {_NOBODY_THERE}"
        if is_refused(error):
            return self.sign_in
        return _NOBODY_THERE if status is None else _FAILING


_watched: ContextVar[Watched | None] = ContextVar("watched", default=None)


@contextmanager
def watching(watched: Watched | None) -> Iterator[None]:
    """Inside the block, what is retried during outages is also retried while this is out of sight, as its vigil says.

    With None, what is watched around the block stays watched.
    """
    token = _watched.set(watched or _watched.get())
    try:
        yield
    finally:
        _watched.reset(token)


def now_watched() -> Watched | None:
    """What is being watched here and now."""
    return _watched.get()


def is_refused(error: BaseException) -> bool:
    """Whether the service does not let this identity in (401, 403), or there is no token to show it.

    A refusal by a policy is none of these: it is about what was asked for, and not about who asks.
    """
    if isinstance(error, ClientAuthenticationError):
        return True
    return _status(error) in _REFUSED and POLICY not in error_codes(error)


def is_unauthorized(error: BaseException) -> bool:
    """Whether the service refused the token; a new one may be good."""
    return _status(error) == httpx.codes.UNAUTHORIZED


def is_answered(error: BaseException) -> bool:
    """Whether the service itself said that it is busy or failing: no refusal, and no want of a connection."""
    return _status(error) is not None and not is_refused(error)


def in_words(seconds: float) -> str:
    """A time that people read: `45 s`, `12 min`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes or not hours else [])])


def _status(error: BaseException) -> int | None:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code
    return error.status_code if isinstance(error, HttpResponseError) else None
