"""What time it is at the service, whatever this machine's clock shows."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.azureml.connection.service_time import ServiceClock
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection

NOON = "Sun, 29 Nov 2026 12:00:00 GMT"


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of this machine's monotonic clock; its other clock is nonsense."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: 0.0)
    return now


def at(hour: int, minute: int = 0, second: float = 0) -> datetime:
    return datetime(2026, 11, 29, hour, minute, tzinfo=UTC) + timedelta(seconds=second)


def test_without_an_answer_nothing_is_known() -> None:
    clock = ServiceClock()
    clock.observe(None)
    clock.observe("yesterday")
    assert clock.now() is None
    assert clock.age(at(12)) is None


def test_between_answers_the_monotonic_clock_counts_on(passed: list[float]) -> None:
    clock = ServiceClock()
    clock.observe(NOON)
    passed[0] += 90
    assert clock.now() == at(12, 1, 30)
    assert clock.age(at(11)) == 3690


def test_a_clock_that_is_set_there_is_followed(passed: list[float]) -> None:
    clock = ServiceClock()
    for heard, expected in ((NOON, at(12)), ("Sun, 29 Nov 2026 14:00:00 GMT", at(14)), (NOON, at(12))):
        clock.observe(heard)
        assert clock.now() == expected


def test_the_missing_fractions_are_made_good(passed: list[float]) -> None:
    clock = ServiceClock()
    # Heard at the end of its second, and then at the beginning of the next one.
    clock.observe(NOON)
    passed[0] += 0.2
    clock.observe("Sun, 29 Nov 2026 12:00:01 GMT")
    passed[0] += 0.9
    clock.observe("Sun, 29 Nov 2026 12:00:01 GMT")
    assert clock.now() == at(12, 0, 1.9)


def test_a_workspace_hears_it_from_the_sdk_and_from_its_own_requests(
    emulator: Connection, control: Control, workspace: Workspace
) -> None:
    control.set_clock(-7200)
    by_sdk, by_http = connect_emulator(emulator), connect_emulator(emulator)
    assert by_sdk.clock.now() is None
    list(by_sdk.ml.compute.list())
    by_http.http.get(f"{emulator.base_url}/discovery").raise_for_status()
    for ws in (by_sdk, by_http):
        now = ws.clock.now()
        assert now is not None
        assert abs(now - datetime.now(UTC) + timedelta(hours=2)) < timedelta(seconds=10)
