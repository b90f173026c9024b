"""What reached the emulator during a block, read from its journal."""

from typing import Self

from phi_assets.emulator import process
from phi_assets.emulator.control import Control

# POST routes that only read.
_READS = ("listsecrets", "listkeys", "getlogs", "rundata", "batchgetresolveduris", "runs/search")


class Requests:
    """Records `METHOD path` of every request that the emulator answered while the block ran."""

    def __init__(self, emulator: process.Connection) -> None:
        self._emulator = emulator
        self._since = 0
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        with Control(self._emulator) as control:
            self._since = control.last_entry()
        return self

    def __exit__(self, *_: object) -> None:
        with Control(self._emulator) as control:
            self.lines = [f"{entry.method} {entry.path}" for entry in control.journal(self._since)]

    @property
    def writes(self) -> list[str]:
        """The requests that may have changed something."""
        return [
            line for line in self.lines if not line.startswith(("GET ", "HEAD ")) and not line.lower().endswith(_READS)
        ]
