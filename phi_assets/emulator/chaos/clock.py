"""Artificial durations of the emulator, which a test can make shorter."""

import math
import threading
from datetime import UTC, datetime, timedelta

_LONGEST_SECONDS = 1e6
"""Of one wait: the operating system takes no times without end."""


class Clock:
    """Waits `seconds / scale`: at scale 5 a compute that takes one second to create takes 0.2 s."""

    def __init__(self, scale: float = 1.0):
        self.scale = self._first_scale = _positive(scale)
        self.ahead_seconds = 0.0
        """How far the service's clock is ahead of this machine's; behind it where negative."""

    def set_scale(self, scale: float) -> None:
        """Waits that begin from now on are divided by `scale`. Raises ValueError unless it is a positive number."""
        self.scale = _positive(scale)

    def reset(self) -> None:
        """The scale is that of the start again, and the time is this machine's."""
        self.scale, self.ahead_seconds = self._first_scale, 0.0

    def now(self) -> datetime:
        """The service's time, in UTC: the scale shortens waits, it does not move time stamps."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead_seconds)

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Waits for `seconds` at scale 1, or until `event` is set; True if it was set."""
        return (event or threading.Event()).wait(min(max(seconds, 0.0) / self.scale, _LONGEST_SECONDS))


def _positive(scale: float) -> float:
    if not 0 < scale < math.inf:
        raise ValueError(f"The time scale must be a positive number, not {scale!r}")
    return scale
