"""What reached the emulator during a block, read from its journal."""

from typing import Self

from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from phi_assets.emulator.store.journal import Entry

# POST routes that only read.
_READS = (
    "listsecrets",
    "listkeys",
    "listnodes",
    "getlogs",
    "rundata",
    "batchgetresolveduris",
    "runs/search",
    "runs:query",
)


class Requests:
    """Records every request that the emulator answered while the block ran."""

    def __init__(self, emulator: process.Connection) -> None:
        self._emulator = emulator
        self._since = 0
        self.entries: list[Entry] = []

    def __enter__(self) -> Self:
        with Control(self._emulator) as control:
            self._since = control.last_entry()
        return self

    def __exit__(self, *_: object) -> None:
        with Control(self._emulator) as control:
            self.entries = control.journal(self._since)

    @property
    def lines(self) -> list[str]:
        """`METHOD path` of every request."""
        return [f"{entry.method} {entry.path}" for entry in self.entries]

    @property
    def uploaded(self) -> dict[str, int]:
        """Name of every file that something was PUT into, to its size in bytes as it lies in the blob store now."""
        paths = {entry.path for entry in self.entries if (entry.plane, entry.method) == ("blob", "PUT")}
        # The account's name comes first.
        files = [self._emulator.directory / "blobs" / path.removeprefix("/").partition("/")[2] for path in paths]
        return {file.name: file.stat().st_size for file in files}

    @property
    def writes(self) -> list[str]:
        """The requests that may have changed something."""
        return [
            line
            for line in self.lines
            if not line.startswith(("GET ", "HEAD "))
            and not line.lower().endswith(_READS)
            and "/datarefs/" not in line.lower()
        ]
