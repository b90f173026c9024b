"""What the model of one deployment suffers from: scenarios in force, asked for at each request."""

import threading
from dataclasses import dataclass, replace

from phi_assets.emulator.chaos.clock import Clock
from phi_assets.emulator.chaos.model_kinds import (
    ModelEmpty,
    ModelFails,
    ModelGarbage,
    ModelMisbehaves,
    ModelRefuses,
    ModelSlow,
)
from phi_assets.emulator.chaos.scenarios import Armed, Scenarios
from phi_assets.emulator.serving.inference.behaviour import Behaviour


@dataclass
class _Ailment:
    armed: Armed[ModelMisbehaves]
    seen: int = 0
    concerned: int = 0

    def strikes(self) -> bool:
        """Whether it concerns the request that comes now."""
        scenario = self.armed.scenario
        self.seen += 1
        exhausted = scenario.requests is not None and self.concerned >= scenario.requests
        if self.armed.cleared.is_set() or exhausted or self.seen % scenario.every:
            return False
        self.concerned += 1
        return True


class Ailments:
    """Stays with the process of a deployment until that is replaced; safe for threads."""

    def __init__(self, scenarios: Scenarios, clock: Clock):
        self._scenarios = scenarios
        self._clock = clock
        self._lock = threading.Lock()
        self._ailments: list[_Ailment] = []

    def catch(self, *names: str) -> None:
        """Takes every scenario that waits for a deployment of one of these names."""
        with self._lock:
            caught = {ailment.armed.id for ailment in self._ailments}
            while armed := self._scenarios.take(ModelMisbehaves, *names, except_for=caught):
                self._ailments.append(_Ailment(armed))
                caught.add(armed.id)

    def next(self) -> Behaviour | None:
        """What goes wrong with the request that comes now; None if nothing does."""
        with self._lock:
            struck = [ailment.armed.scenario for ailment in self._ailments if ailment.strikes()]
        behaviour = Behaviour()
        for scenario in struck:
            behaviour = self._worse(behaviour, scenario)
        return behaviour if struck else None

    def _worse(self, behaviour: Behaviour, scenario: ModelMisbehaves) -> Behaviour:
        match scenario:
            case ModelSlow():
                seconds = behaviour.seconds + scenario.real(scenario.seconds, self._clock)
                return replace(behaviour, factor=behaviour.factor * scenario.factor, seconds=seconds)
            case ModelFails():
                return replace(behaviour, error_status=scenario.status, error_message=scenario.message)
            case ModelRefuses():
                return replace(behaviour, refusal=scenario.message)
            case ModelGarbage() | ModelEmpty():
                return replace(behaviour, answers=scenario.scenario)
        raise TypeError(f"{scenario!r} is no misbehaviour")
