"""The scenarios that are in force: which job, cluster or deployment they still wait for."""

import threading
import time
import uuid
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

from phi_assets.emulator.chaos.clock import Clock
from phi_assets.emulator.chaos.kinds import AllocationFailed, Scenario

S = TypeVar("S", bound=Scenario)


@dataclass(eq=False)
class Armed(Generic[S]):
    """A scenario that was added; `cleared` is set when it is in force no longer."""

    id: str
    scenario: S
    applied: int = 0
    cleared: threading.Event = field(default_factory=threading.Event)
    held_until: dict[str, float | None] = field(default_factory=dict)
    """Clusters that it holds without nodes, each with the monotonic time of the end (None: until it is cleared)."""

    @property
    def is_used_up(self) -> bool:
        """Whether it has applied as often as it may."""
        return self.scenario.count is not None and self.applied >= self.scenario.count

    def document(self) -> dict[str, Any]:
        """As the control plane shows it."""
        return {"id": self.id, "applied": self.applied, **self.scenario.model_dump(mode="json")}


class Scenarios:
    """Scenarios by the order in which they were added; safe for threads, gone with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Armed[Any]] = []

    def add(self, scenario: Scenario) -> Armed[Any]:
        """From now on the scenario is in force."""
        armed = Armed(uuid.uuid4().hex[:12], scenario)
        with self._lock:
            self._armed.append(armed)
        return armed

    def clear(self, identifier: str | None = None) -> bool:
        """Ends the scenario, or all of them, with what they hold back; False if there was none."""
        with self._lock:
            ended = [armed for armed in self._armed if identifier in (None, armed.id)]
            self._armed = [armed for armed in self._armed if armed not in ended]
        for armed in ended:
            armed.cleared.set()
        return bool(ended)

    def documents(self) -> list[dict[str, Any]]:
        """Documents of all scenarios in force, used up or not, oldest first."""
        with self._lock:
            return [armed.document() for armed in self._armed]

    def take(
        self,
        kind: type[S],
        *names: str,
        accepts: Callable[[S], bool] | None = None,
        except_for: Container[str] = (),
    ) -> Armed[S] | None:
        """The oldest scenario of this kind that matches one of the names and is not used up; it has applied now.

        Those whose ids are in `except_for` are passed over.
        """
        with self._lock:
            armed = self._find(kind, names, accepts, except_for)
            if armed is not None:
                armed.applied += 1
            return armed

    def give_back(self, armed: Armed[Any]) -> None:
        """It did not apply after all: what it was taken for ended before its time."""
        with self._lock:
            armed.applied -= 1

    def hold(self, compute: str, tier: str | None, clock: Clock) -> Armed[AllocationFailed] | None:
        """The scenario that keeps nodes from this cluster from now on; None if there is none, or its time is over."""

        def accepts(scenario: AllocationFailed) -> bool:
            return scenario.state == "Succeeded" and scenario.tier in (None, tier)

        with self._lock:
            found = self._holding(compute)
            if found is None and (found := self._find(AllocationFailed, (compute,), accepts)) is not None:
                found.applied += 1
                seconds = found.scenario.seconds
                end = None if seconds is None else time.monotonic() + found.scenario.real(seconds, clock)
                found.held_until[compute.lower()] = end
            return found if found is not None and _is_held(found, compute) else None

    def holding(self, compute: str) -> Armed[AllocationFailed] | None:
        """The scenario that keeps nodes from this cluster now."""
        with self._lock:
            found = self._holding(compute)
            return found if found is not None and _is_held(found, compute) else None

    def release(self, compute: str) -> None:
        """The cluster is gone; a new one of its name is another one."""
        with self._lock:
            for armed in self._armed:
                armed.held_until.pop(compute.lower(), None)

    def _holding(self, compute: str) -> Armed[AllocationFailed] | None:
        return next((armed for armed in self._armed if compute.lower() in armed.held_until), None)

    def _find(
        self,
        kind: type[S],
        names: tuple[str, ...],
        accepts: Callable[[S], bool] | None,
        except_for: Container[str] = (),
    ) -> Armed[S] | None:
        for armed in self._armed:
            scenario = armed.scenario
            if not isinstance(scenario, kind) or armed.is_used_up or armed.id in except_for:
                continue
            matches = any(fnmatchcase(name.lower(), scenario.match.lower()) for name in names)
            if matches and (accepts is None or accepts(scenario)):
                return armed
        return None


def _is_held(armed: Armed[AllocationFailed], compute: str) -> bool:
    end = armed.held_until[compute.lower()]
    return end is None or time.monotonic() < end
