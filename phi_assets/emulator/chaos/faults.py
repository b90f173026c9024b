"""Faults that somebody has asked for: which requests they are for, what becomes of those, and when."""

import asyncio
import itertools
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phi_assets.emulator.wire.errors import not_found, user_error
from phi_assets.emulator.wire.planes import Plane, RouteName

_PLACEHOLDER = re.compile(r"\{[^}]*\}")
_Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class _Action(BaseModel):
    """What happens to a request: `before` it is processed, or `after` that, so that only the answer is concerned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: Literal["before", "after"] = "before"


class Status(_Action):
    """The answer is an error with this HTTP status; `retry_after` seconds become its Retry-After header.

    `error` is the whole `error` object of the answer, for refusals whose words matter; else one is made of `code`.
    """

    action: Literal["status"]
    status: Annotated[int, Field(ge=400, le=599)]
    code: str | None = None
    retry_after: _Seconds | None = None
    error: dict[str, Any] | None = None


class Drop(_Action):
    """The connection ends without an answer."""

    action: Literal["drop"]


class Delay(_Action):
    """Nothing happens for so many seconds of the wall clock."""

    action: Literal["delay"]
    seconds: _Seconds


class Hold(_Action):
    """Nothing happens until the fault is released."""

    action: Literal["hold"]


Action = Annotated[Status | Drop | Delay | Hold, Field(discriminator="action")]


class Rule(BaseModel):
    """Which requests a fault is for; None means any.

    `route` is the name of a route, or a glob: names of parameters do not count, `/jobs/{name}` is `/jobs/{job}`.
    `path` is a regular expression that is searched for in the whole path. Of the requests that match, the first
    `skip` go free, then every `every`-th meets the next of `actions`, `count` times (None: for ever).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    actions: Annotated[tuple[Action, ...], Field(min_length=1)]
    method: str | None = None
    route: str | None = None
    path: re.Pattern[str] | None = None
    plane: Plane | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    every: Annotated[int, Field(ge=1)] = 1
    count: Annotated[int, Field(ge=1)] | None = None

    def matches(self, method: str, name: RouteName, path: str) -> bool:
        """Whether a request is one of those that the fault is for."""
        return (
            (self.method is None or self.method.upper() == method)
            and self.plane in (None, name.plane)
            and (self.route is None or fnmatchcase(_without_names(name.route), _without_names(self.route)))
            and (self.path is None or self.path.search(path) is not None)
        )


@dataclass(eq=False)
class Fault:
    """A rule in force, and how often it was met; for use in the server's event loop only."""

    id: str
    rule: Rule
    matched: int = 0
    applied: int = 0
    holding: int = 0
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Set as soon as a request is held."""
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _discarded: bool = False

    def next_action(self) -> Status | Drop | Delay | Hold | None:
        """Counts one more matching request; what becomes of it, None if it goes free."""
        rule = self.rule
        self.matched += 1
        turn = self.matched - rule.skip
        if turn < 1 or turn % rule.every or (rule.count is not None and self.applied >= rule.count):
            return None
        action = rule.actions[self.applied % len(rule.actions)]
        if isinstance(action, Hold) and self._released.is_set():
            return None
        self.applied += 1
        return action

    async def hold(self) -> bool:
        """Returns at the release: True if the request may go on, False if it is to be dropped."""
        self.holding += 1
        self.held.set()
        try:
            await self._released.wait()
        finally:
            self.holding -= 1
        return not self._discarded

    def release(self, *, discard: bool = False) -> None:
        """Requests that are held go on, or are dropped if `discard`; no other one is held from now on."""
        self._discarded = discard
        self._released.set()

    def state(self) -> dict[str, Any]:
        """As the control plane shows it."""
        return {"id": self.id, "matched": self.matched, "applied": self.applied, "holding": self.holding}


class Faults:
    """All faults in the order in which they were added; for use in the server's event loop only."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._numbers = itertools.count(1)

    def add(self, rule: Rule) -> Fault:
        """From now on the fault is in force."""
        fault = Fault(f"fault-{next(self._numbers)}", rule)
        self._faults[fault.id] = fault
        return fault

    def get(self, identifier: str) -> Fault:
        """Raises ServiceError 404."""
        if identifier not in self._faults:
            raise not_found("Fault", identifier)
        return self._faults[identifier]

    def clear(self, *, discard: bool = False) -> None:
        """No fault is in force any more; what they hold goes on, or is dropped if `discard`."""
        for fault in self._faults.values():
            fault.release(discard=discard)
        self._faults.clear()

    def meet(self, method: str, name: RouteName, path: str) -> tuple[Fault, Status | Drop | Delay | Hold] | None:
        """The fault that the request meets, and what it does.

        Every fault counts every request that it matches, but a request meets one fault at most: the oldest.
        """
        matching = [fault for fault in self._faults.values() if fault.rule.matches(method, name, path)]
        for number, fault in enumerate(matching):
            action = fault.next_action()
            if action is not None:
                for younger in matching[number + 1 :]:
                    younger.matched += 1
                return fault, action
        return None


_OF_ACTIONS = frozenset(name for kind in (Status, Drop, Delay, Hold) for name in kind.model_fields)


def parse(body: Any) -> Rule:
    """The rule that a request describes: the fields of `Rule`, and those of one action or a list of them as `cycle`.

    Raises:
        ServiceError: 400, naming every field that is wrong.
    """
    if not isinstance(body, dict):
        raise user_error("A fault must be a JSON object.", "BadArgument/ArgumentInvalid")
    given = {name: value for name, value in body.items() if value is not None}
    action = {name: given.pop(name) for name in _OF_ACTIONS & given.keys()}
    cycle = given.pop("cycle", None)
    actions: Any = [action]
    if isinstance(cycle, list):
        # Beside a cycle, `when` is meant for all of its actions.
        actions = [action | turn if isinstance(turn, dict) else turn for turn in cycle]
    elif cycle is not None:
        actions = cycle
    try:
        return Rule.model_validate(given | {"actions": actions})
    except ValidationError as error:
        raise user_error(f"This is no fault. {in_words(error)}", "BadArgument/ArgumentInvalid") from error


def in_words(error: ValidationError) -> str:
    """Every field that is wrong, and why."""
    wrong = (f"{'.'.join(map(str, entry['loc'])) or 'body'}: {entry['msg']}" for entry in error.errors())
    return "; ".join(wrong) + "."


def _without_names(route: str) -> str:
    return _PLACEHOLDER.sub("{}", route.lower())
