"""Hundreds of waits with one identity stay below the request limits of Azure Resource Manager together.

Nobody waits here: the clock is made, and each waiter asks when `wait_for_job` would.
"""

import heapq
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from phi_assets.azureml.connection import retry
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Crowd, poll_delays
from phi_assets.azureml.training import waiting
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.emulator.chaos import throttling
from phi_assets.emulator.chaos.throttling import Limits, Throttling
from phi_assets.emulator.control import Control
from phi_assets.emulator.wire.errors import ServiceError
from tests.azureml.toys import make_request

CLUSTER_SECONDS = 60.0


@dataclass
class Waiter:
    """One of them; the cluster is looked at while the job has no node, which is all the time here."""

    crowd: Crowd = field(default_factory=Crowd)
    delays: Iterator[float] | None = None
    has_begun: bool = False
    cluster_seen: float = float("-inf")


class World:
    """Many waiters, the service's limits, and a clock that jumps from one request to the next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, waiters: int, arrive_within: float) -> None:
        self.now = time.monotonic()
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(retry, "time", clock)
        monkeypatch.setattr(throttling, "time", clock)
        self.throttling = Throttling()
        self.throttling.switch(Limits())
        self.began = self.now
        self.events = [(self.now + random.uniform(0, arrive_within), number) for number in range(waiters)]
        heapq.heapify(self.events)
        self.waiters = [Waiter() for _ in range(waiters)]
        self.reads: Counter[int] = Counter()
        self.begun = 0
        self.refused_before = 0
        self.refused = 0

    def read(self, waiter: Waiter) -> float:
        """0 if the service has answered, else the seconds that it asks to wait."""
        try:
            headers = self.throttling.take("everybody", "GET")
        except ServiceError as error:
            waiter.crowd.observe(error.headers)
            return float(error.headers["Retry-After"])
        waiter.crowd.observe(headers)
        self.reads[int((self.now - self.began) // 60)] += 1
        return 0.0

    def run(self, minutes: float) -> None:
        while self.events and self.events[0][0] < self.began + minutes * 60:
            self.now, number = heapq.heappop(self.events)
            heapq.heappush(self.events, (self.now + self.turn(self.waiters[number]), number))

    def turn(self, waiter: Waiter) -> float:
        """What the waiter does now, and how many seconds later it does something again."""
        refused = self.read(waiter)
        if not waiter.has_begun:
            # It looks its job up, which it has to do in any case.
            self.refused_before += bool(refused)
            waiter.has_begun = not refused
            self.begun += not refused
            return refused or waiter.crowd.pause()
        if self.now - waiter.cluster_seen >= CLUSTER_SECONDS:
            waiter.cluster_seen = self.now
            refused = refused or self.read(waiter)
        # Those that still submit ask again and again, and take what there is.
        if self.begun == len(self.waiters):
            self.refused += bool(refused)
        else:
            self.refused_before += bool(refused)
        if waiter.delays is None:
            waiter.delays = poll_delays()
        return refused + next(waiter.delays) + waiter.crowd.pause()


@pytest.mark.parametrize(("waiters", "arrive_within"), [(100, 1), (400, 1), (400, 60), (600, 600)])
def test_once_all_wait_none_is_refused(monkeypatch: pytest.MonkeyPatch, waiters: int, arrive_within: float) -> None:
    random.seed(16)
    world = World(monkeypatch, waiters=waiters, arrive_within=arrive_within)
    world.run(minutes=31)
    print(
        f"{waiters} waits within {arrive_within} s: {world.refused} refused, {world.refused_before} before; "
        f"reads a minute {[world.reads[minute] for minute in (0, 1, 2, 5, 30)]}"
    )
    assert world.refused == 0
    assert world.reads[30] >= waiters / 2


def test_a_wait_alone_is_not_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(16)
    world = World(monkeypatch, waiters=1, arrive_within=0)
    world.run(minutes=1)
    assert world.reads[0] > 50


@pytest.mark.parametrize("is_crowded", [True, False])
def test_the_real_wait_leaves_room_where_others_have_taken_nearly_all_reads(
    monkeypatch: pytest.MonkeyPatch, toys: Workspace, control: Control, tmp_path: Path, is_crowded: bool
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(waiting, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    if is_crowded:
        control.set_throttling(True, reads=(40, 1000))
    ensure_job(toys, request=make_request(toys, tmp_path))
    assert (max(pauses) > 40) == is_crowded
