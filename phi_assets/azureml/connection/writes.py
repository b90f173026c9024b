"""Writes whose answers may be lost: looked up before, sent, read back, and sent again only where it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError

from phi_assets.azureml.connection.lazy_sdk import without_sdk_chatter
from phi_assets.azureml.connection.operations import Course, follow
from phi_assets.azureml.connection.refusals import is_locked
from phi_assets.azureml.connection.retry import OUTAGE_PATIENCE_SECONDS, Log, is_transient, one_line, ride_out
from phi_assets.azureml.connection.sight import is_refused, watching

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
    course: Course | None = None,
    conflict_patience_seconds: float = CONFLICT_PATIENCE_SECONDS,
    is_conflict: Callable[[BaseException], bool] | None = None,
) -> Written[T]:
    """What `look` finds once it has been made as wanted, or once the service says that it has done what it could.

    `look` gives the thing as it is when nobody is changing it any more, and retries during outages. `send` gets what
    was found right before it, makes one request, and returns the operation that this starts, if it does; the operation
    is followed to its end as `course` says. After a request without a usable answer (throttled, failed, dropped on
    either way, or refused because the thing is being changed) the thing is looked at again: where it is as wanted
    nothing more is sent, and where it is not the request is repeated for a quarter of an hour. All names are the
    caller's, so a request that is processed twice changes nothing.

    A refusal of this identity (401, 403) is raised at once, unless the service has accepted the request before: then
    what `course` watches exists, and is looked for as long as its vigil lasts. `is_conflict` says which refusals pass.

    Raises:
        AzureError: the service refused, or the outage or the conflict did not end.
        AzureMLError: of the class that `course` names, when its time is over.
        SightLost: the service could not be asked for hours about what it has accepted.
    """
    is_lost = False
    is_accepted = False
    passes_as_conflict = is_conflict or is_in_conflict

    def attempt() -> Written[T]:
        nonlocal is_lost, is_accepted
        found = look()
        if is_done(found):
            return Written(found, by_us=is_lost)
        try:
            with without_sdk_chatter():
                operation: Any = send(found)
                if course is not None:
                    is_accepted = True
                    follow(operation, course, log)
        except AzureError as error:
            is_lost = is_lost or is_transient(error) or (is_accepted and is_refused(error))
            with watching(course.watched if course is not None and is_accepted else None):
                found = look()
            if not is_done(found):
                raise
            log(f"{what} is as wanted, although the service answered: {one_line(error)}")
            return Written(found, by_us=is_lost)
        with watching(course.watched if course is not None else None):
            return Written(look(), by_us=True)

    def patience_seconds(error: BaseException) -> float:
        return conflict_patience_seconds if passes_as_conflict(error) else OUTAGE_PATIENCE_SECONDS

    def passes(error: BaseException) -> bool:
        # Accepted once, and not seen since: by now it is known again what has become of it.
        return is_transient(error) or passes_as_conflict(error) or (is_accepted and is_refused(error))

    return ride_out(attempt, what, log, patience_seconds, passes=passes)


def is_in_conflict(error: BaseException) -> bool:
    """Whether the service refused because somebody else, or an earlier request, is changing the thing."""
    if not isinstance(error, HttpResponseError) or is_locked(error):
        return False
    return error.status_code == 409 or getattr(error.error, "code", None) == "OperationCanceled"
