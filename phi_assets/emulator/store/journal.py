"""What has reached the emulator lately, one entry a request."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

KEPT_ENTRIES = 20_000


@dataclass(frozen=True)
class Entry:
    """One answered request.

    `number` counts all requests since the emulator started; `route` is the end of the route's template
    (`/jobs/{name}`), `path` the whole path without its query. `status` is what the client was sent, 0 if it was sent
    nothing; `fault` the id of the fault that the request met.
    """

    number: int
    method: str
    route: str
    path: str
    status: int
    plane: str
    fault: str | None
    milliseconds: float


class Journal:
    """The last `KEPT_ENTRIES` entries, in memory; for use in the server's event loop only."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT_ENTRIES)
        self.last = 0
        """Number of the newest entry; goes on counting when the journal is cleared."""

    def add(
        self,
        *,
        method: str,
        route: str,
        path: str,
        status: int,
        plane: str,
        fault: str | None,
        milliseconds: float,
    ) -> None:
        """Appends an entry, at the cost of the oldest one if the journal is full."""
        self.last += 1
        self._entries.append(Entry(self.last, method, route, path, status, plane, fault, milliseconds))

    def since(self, number: int) -> list[Entry]:
        """Entries with a higher number, oldest first."""
        return list(self._newer(number))

    def counts(self, number: int) -> dict[str, int]:
        """How many entries since then each `METHOD route` has, the most frequent first."""
        found = Counter(f"{entry.method} {entry.route}" for entry in self._newer(number))
        return dict(found.most_common())

    def clear(self) -> None:
        """Forgets all entries."""
        self._entries.clear()

    def _newer(self, number: int) -> Iterator[Entry]:
        return (entry for entry in self._entries if entry.number > number)
