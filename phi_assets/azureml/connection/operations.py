"""Long operations of the service: followed to their end, with a voice on the way and a limit."""

import time
from dataclasses import dataclass
from typing import Any

from phi_assets.azureml.connection.errors import AzureMLError
from phi_assets.azureml.connection.retry import Log, poll_delays
from phi_assets.azureml.connection.sight import Watched, in_words

HEARTBEAT_SECONDS = 300.0


@dataclass(frozen=True)
class Course:
    """How an operation on something is followed."""

    watched: Watched
    failure: type[AzureMLError]
    limit_seconds: float
    """From the moment on at which the operation is first looked at."""
    setting: str = ""
    """What raises the limit: a key of the recipe, or empty where the limit is the service's own."""
    way_out: str = "delete it and run again"
    heartbeat_seconds: float = HEARTBEAT_SECONDS

    def over(self, state: str) -> AzureMLError:
        """The error where the time is over."""
        raised = f", raise `{self.setting}`" if self.setting else ""
        return self.failure(
            f"{self.watched.what} is still {state} after {in_words(self.limit_seconds)}. Look at it in "
            f"Studio{raised}, or {self.way_out}.",
            studio_url=self.watched.url,
        )


class Voice:
    """Says from time to time that something is still on its way, and knows when its time is over."""

    def __init__(self, course: Course, log: Log) -> None:
        self._course = course
        self._log = log
        self._began = self._said = time.monotonic()

    def say(self, state: str) -> None:
        """One line, where it is time for one.

        Raises:
            AzureMLError: of the course's class, when the time is over.
        """
        now = time.monotonic()
        if now - self._began > self._course.limit_seconds:
            raise self._course.over(state)
        if now - self._said > self._course.heartbeat_seconds:
            self._said = now
            passed, limit = in_words(now - self._began), in_words(self._course.limit_seconds)
            self._log(f"{self._course.watched.what} is still {state} after {passed}; it is waited for up to {limit}.")


def follow(operation: Any, course: Course, log: Log) -> None:
    """The operation (a poller of the SDK) has ended well.

    Raises:
        AzureError: it has ended otherwise, or cannot be seen any more.
        AzureMLError: of the course's class, when it has not ended in time. It runs on.
    """
    voice, delays = Voice(course, log), poll_delays()
    while not operation.done():
        operation.wait(next(delays))
        voice.say("underway")
    operation.wait()
