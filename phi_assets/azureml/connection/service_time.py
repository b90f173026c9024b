"""What time it is at the service: the one clock that deadlines and leases are compared with.

This machine's own clock may be hours off, or be set while something is waited for.
"""

import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_FRACTION = timedelta(seconds=1)


class ServiceClock:
    """The time of the service's newest answer (its `Date` header), plus what this machine's monotonic clock has counted
    since. Safe for threads.
    """

    def __init__(self) -> None:
        self._zero: datetime | None = None
        """The service's time at zero of this machine's monotonic clock."""

    def observe(self, date: str | None) -> None:
        """An answer with this `Date` header has just come; one that is no date changes nothing."""
        try:
            moment = parsedate_to_datetime(date or "")
        except ValueError:
            return
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        zero = aware - timedelta(seconds=time.monotonic())
        # The header has no fractions, and an answer takes its time: of what fits together the latest is the nearest.
        if self._zero is None or not self._zero - _FRACTION < zero <= self._zero:
            self._zero = zero

    def now(self) -> datetime | None:
        """The time there, at most a second early; None where no answer has been seen yet."""
        return None if self._zero is None else self._zero + timedelta(seconds=time.monotonic())

    def age(self, moment: datetime) -> float | None:
        """Seconds since this moment of the service's; None where no answer has been seen yet."""
        now = self.now()
        return None if now is None else (now - moment).total_seconds()
