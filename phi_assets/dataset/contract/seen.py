"""Which hashes have occurred already, in eight bytes each."""

import numpy as np

MISSING = 0
"""Stands for the hash of what is not there, which never occurs."""


class Seen:
    """A set of 64-bit numbers that grows by many at a time; a `set` of Python's takes ten times the memory.

    Sorted arrays, each at least twice as long as the one after it: as few as the logarithm of the number of hashes.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def has(self, hashes: np.ndarray) -> np.ndarray:
        """For each hash whether it was added."""
        found = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            found |= _are_in(run, hashes)
        return found

    def add(self, hashes: np.ndarray) -> None:
        """These have occurred."""
        run = np.sort(hashes[hashes != MISSING])
        while len(run) and self._runs and len(self._runs[-1]) < 2 * len(run):
            # Stable: the sort that merges what is sorted already.
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)


def occur_twice(hashes: np.ndarray) -> np.ndarray:
    """For each hash whether another one is equal to it."""
    ordered = np.sort(hashes[hashes != MISSING])
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return _are_in(twice, hashes) if len(twice) else np.zeros(len(hashes), dtype=bool)


def _are_in(run: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    place = np.searchsorted(run, hashes)
    return run[np.minimum(place, len(run) - 1)] == hashes
