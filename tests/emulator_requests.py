"""What reached the emulator during a block, read from its access log."""

import re
from pathlib import Path
from typing import Self

from phi_assets.emulator import process

_LINE = re.compile(r"(?P<method>[A-Z]+) (?P<path>\S+) (?P<status>\d{3}) ")

# POST routes that only read.
_READS = ("listsecrets", "listkeys", "getlogs", "rundata", "batchgetresolveduris", "runs/search")


class Requests:
    """Records `METHOD path` of every request that the emulator answered while the block ran."""

    def __init__(self, emulator: process.Connection) -> None:
        self._log: Path = emulator.directory / "access.log"
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        return self

    def __exit__(self, *_: object) -> None:
        with self._log.open("rb") as file:
            file.seek(self._offset)
            text = file.read().decode()
        self.lines = [f"{match['method']} {match['path']}" for match in _LINE.finditer(text)]

    @property
    def writes(self) -> list[str]:
        """The requests that may have changed something."""
        return [
            line for line in self.lines if not line.startswith(("GET ", "HEAD ")) and not line.lower().endswith(_READS)
        ]
