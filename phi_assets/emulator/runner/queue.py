"""What jobs wait for, first come, first served. No thread waits with them: one looks after all of them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from phi_assets.emulator.workspace.workers import Workers

_LOOK_SECONDS = 0.05


class Interrupted(Exception):
    """The job was canceled, or the emulator stops."""


class Want(Protocol):
    """Something that a job may have to wait for."""

    @property
    def line(self) -> str:
        """Who wants the same thing stands in the same line, and only the first of a line is looked at."""
        ...

    def take(self) -> bool:
        """Whether the wait is over. What there is of it is the job's then, until `free`."""
        ...

    def free(self) -> None:
        """Gives back what was taken, if anything was; nobody waits any more."""
        ...


class Claim:
    """A job's want; `rank` is the job's place in every line, `is_off` says whether it wants it no longer."""

    def __init__(self, want: Want, rank: int, is_off: Callable[[], bool]):
        self.want = want
        self.rank = rank
        self.is_off = is_off
        self.is_met = False
        self.failure: Exception | None = None

    def is_over(self) -> bool:
        """Whether the job has nothing more to wait for: it has what it wants, or never will."""
        try:
            self.is_met = self.want.take()
        except Exception as error:
            self.failure = error
        return self.is_met or self.failure is not None


@dataclass(frozen=True)
class _Waiter:
    claim: Claim
    go_on: Callable[[], None]
    leave: Callable[[], None]


class Queue:
    """The claims that cannot be met yet; safe for threads."""

    def __init__(self, workers: Workers):
        self._workers = workers
        self._lock = threading.Lock()
        self._waiting: list[_Waiter] = []
        self._changed = threading.Event()
        self._is_watched = False
        self._is_closed = False

    def admits(self, claim: Claim, go_on: Callable[[], None], leave: Callable[[], None]) -> bool:
        """Whether the claim is over at once; else it waits, and `go_on` is called in another thread when it is over.

        After `close` it is `leave` that is called.
        """
        with self._lock:
            is_closed, is_watched = self._is_closed, self._is_watched
            if not is_closed:
                if claim.is_off() or (self._is_first(claim) and claim.is_over()):
                    return True
                self._waiting.append(_Waiter(claim, go_on, leave))
                self._waiting.sort(key=lambda waiter: waiter.claim.rank)
                self._is_watched = True
        if is_closed:
            leave()
        elif not is_watched:
            self._workers.start("queue", self._watch)
        return False

    def free(self, *wants: Want) -> None:
        """Gives back what was taken for them, if anything was, to whoever is first in line."""
        with self._lock:
            for want in wants:
                want.free()
        self._changed.set()

    def close(self) -> None:
        """Nobody waits any more, and nobody goes on."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.leave()

    def _is_first(self, claim: Claim) -> bool:
        same = (waiter.claim for waiter in self._waiting if waiter.claim.want.line == claim.want.line)
        return all(other.rank > claim.rank for other in same)

    def _watch(self) -> None:
        """Looks at the first of every line, again and again, for as long as anybody waits."""
        is_watched = True
        while is_watched:
            self._changed.wait(_LOOK_SECONDS)
            self._changed.clear()
            with self._lock:
                over = self._over()
                is_watched = self._is_watched = bool(self._waiting)
            for waiter in over:
                waiter.go_on()

    def _over(self) -> list[_Waiter]:
        """Takes out those whose wait is over."""
        lines: set[str] = set()
        over: list[_Waiter] = []
        for waiter in self._waiting:
            claim = waiter.claim
            if claim.is_off() or (claim.want.line not in lines and claim.is_over()):
                over.append(waiter)
            else:
                lines.add(claim.want.line)
        self._waiting = [waiter for waiter in self._waiting if waiter not in over]
        return over
