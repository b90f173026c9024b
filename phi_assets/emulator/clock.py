"""Artificial durations of the emulator, which a test can make shorter."""

import threading
from datetime import UTC, datetime


class Clock:
    """Waits `seconds / scale`: at scale 5 a compute that takes one second to create takes 0.2 s."""

    def __init__(self, scale: float = 1.0):
        if not scale > 0:
            raise ValueError(f"The time scale must be a positive number, not {scale!r}")
        self.scale = scale

    def now(self) -> datetime:
        """The true time, in UTC: the scale shortens waits, it does not move time stamps."""
        return datetime.now(UTC)

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Waits for `seconds` at scale 1, or until `event` is set; True if it was set."""
        return (event or threading.Event()).wait(max(seconds, 0.0) / self.scale)
