"""Which hashes have occurred already, in eight bytes each."""

import numpy as np
import polars as pl


class Seen:
    """A set of 64-bit numbers that grows by many at a time; a `set` of Python's takes ten times the memory.

    Sorted arrays, each at least twice as long as the one after it: as few as the logarithm of the number of hashes.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def has(self, hashes: pl.Series) -> pl.Series:
        """For each hash whether it was added; what is null never was."""
        wanted = hashes.fill_null(0).to_numpy()
        found = np.zeros(len(wanted), dtype=bool)
        for run in self._runs:
            place = np.searchsorted(run, wanted)
            found |= run[np.minimum(place, len(run) - 1)] == wanted
        return pl.Series(found) & hashes.is_not_null()

    def add(self, hashes: pl.Series) -> None:
        """These have occurred; what is null is passed over."""
        run = np.sort(hashes.drop_nulls().to_numpy())
        while len(run) and self._runs and len(self._runs[-1]) < 2 * len(run):
            # Stable: the sort that merges what is sorted already.
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)
