"""How many scoring requests each deployment got, by the way they came and what became of them."""

import threading
from collections import Counter
from enum import Enum

Counts = dict[str, dict[str, dict[str, int]]]


class Way(Enum):
    """How a request came to a deployment."""

    LIVE = "live"
    """Drawn by the endpoint's traffic."""
    NAMED = "named"
    """By the header of the request."""
    MIRRORED = "mirrored"
    """As a copy of one that another deployment answers."""


class Tally:
    """Counts from the start of the emulator, or from its last reset; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, Way, int]] = Counter()

    def add(self, endpoint: str, deployment: str, way: Way, status: int) -> None:
        """The request was answered with this status."""
        with self._lock:
            self._counts[endpoint.lower(), deployment.lower(), way, status] += 1

    def of(self, endpoint: str) -> Counts:
        """`{deployment: {way: {status: count}}}`, also of deployments that are gone by now."""
        found: Counts = {}
        with self._lock:
            for (where, deployment, way, status), count in sorted(self._counts.items(), key=lambda item: item[0][3]):
                if where == endpoint.lower():
                    found.setdefault(deployment, {}).setdefault(way.value, {})[str(status)] = count
        return found
