"""Writes whose answers may be lost: looked up before, sent, read back, and sent again only where it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError

from phi_assets.azureml.connection.lazy_sdk import without_sdk_chatter
from phi_assets.azureml.connection.retry import OUTAGE_PATIENCE_SECONDS, Log, is_transient, one_line, ride_out

T = TypeVar("T")

CONFLICT_PATIENCE_SECONDS = 15 * 60.0


@dataclass(frozen=True)
class Written(Generic[T]):
    """What a write left."""

    found: T | None
    """The thing as the service has it now; None where there is none."""
    by_us: bool
    """A request of ours made it so, as far as that can be known; otherwise somebody else was there first."""


def write(
    what: str,
    *,
    look: Callable[[], T | None],
    send: Callable[[T | None], object],
    is_done: Callable[[T | None], bool],
    log: Log,
    conflict_patience_seconds: float = CONFLICT_PATIENCE_SECONDS,
) -> Written[T]:
    """What `look` finds once it has been made as wanted, or once the service says that it has done what it could.

    `look` gives the thing as it is when nobody is changing it any more, and sits out outages itself. `send` gets what
    was found right before it, and makes one request (with the operation that this starts). After a request without a
    usable answer (throttled, failed, dropped on either way, or refused because the thing is being changed) the thing
    is looked at again: where it is as wanted nothing more is sent, and where it is not the request is repeated for a
    quarter of an hour. All names are the caller's, so a request that is processed twice changes nothing.

    Raises:
        AzureError: the service refused, or the outage or the conflict did not end.
    """
    is_lost = False

    def attempt() -> Written[T]:
        nonlocal is_lost
        found = look()
        if is_done(found):
            return Written(found, by_us=is_lost)
        try:
            with without_sdk_chatter():
                send(found)
        except AzureError as error:
            is_lost = is_lost or is_transient(error)
            found = look()
            if not is_done(found):
                raise
            log(f"{what} is as wanted, although the service answered: {one_line(error)}")
            return Written(found, by_us=is_lost)
        return Written(look(), by_us=True)

    def patience_seconds(error: BaseException) -> float:
        return OUTAGE_PATIENCE_SECONDS if is_transient(error) else conflict_patience_seconds

    return ride_out(attempt, what, log, patience_seconds, passes=_passes)


def _passes(error: BaseException) -> bool:
    return is_transient(error) or is_conflict(error)


def is_conflict(error: BaseException) -> bool:
    """Whether the service refused because somebody else, or an earlier request, is changing the thing."""
    if not isinstance(error, HttpResponseError):
        return False
    return error.status_code == 409 or getattr(error.error, "code", None) == "OperationCanceled"
