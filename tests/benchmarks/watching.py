"""What processes use while something goes on: their memory, and the requests that an emulator wrote down."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil

_LOOK_SECONDS = 0.25
"""The kernel adds memory up page by page, so it is not looked at all the time."""

Span = tuple[float, float]
"""From when until when, as `time.time` has it."""


def pss_mb(pid: int) -> float:
    """The proportional set size, in MB: of memory that several processes share, each has its part."""
    return psutil.Process(pid).memory_full_info().pss / 1e6


@dataclass
class Watcher:
    """Looks at the memory of a process once its number is known, until it is told to stop."""

    pid: int | None = None
    memory: list[tuple[float, float]] = field(default_factory=list)
    """When, and the process's MB."""
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """It looks during the block."""
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            if self.pid is not None:
                try:
                    self.memory.append((time.time(), pss_mb(self.pid)))
                except psutil.NoSuchProcess:
                    self.pid = None

    def peak_in(self, *spans: Span) -> float:
        """The most memory that was seen."""
        return max((mb for at, mb in self.memory if _is_in(at, spans)), default=0.0)


@dataclass(frozen=True)
class Answered:
    """A request in an emulator's log of them."""

    line: str
    """`METHOD path`."""
    seconds: float
    """That the emulator took for it."""


def requests_in(emulator: Path, *spans: Span) -> list[Answered]:
    """Every request that the emulator has answered then, without the tests' own to its control plane."""
    found = []
    for line in (emulator / "access.log").read_text(encoding="utf-8").splitlines():
        day, clock, method, path, *_, took = line.split(" ")
        at = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S,%f").timestamp()
        if _is_in(at, spans) and not path.startswith("/_control"):
            found.append(Answered(f"{method} {path}", float(took.removesuffix("ms")) / 1000))
    return found


def _is_in(at: float, spans: Sequence[Span]) -> bool:
    return any(since <= at <= until for since, until in spans)
