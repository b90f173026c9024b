"""What is waited out, for how long, and what an error says in one line."""

import time

import httpx
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceRequestError

from phi_assets.azureml.connection.errors import AzureMLError
from phi_assets.azureml.connection.retry import (
    is_transient,
    one_line,
    patience,
    poll_delays,
    retry_after,
    ride_out,
    wait_until,
)


def service_error(status: int, headers: dict[str, str] | None = None) -> HttpResponseError:
    error = HttpResponseError("the service says no.\nCode: X")
    error.status_code = status
    error.response = httpx.Response(status, headers=headers)  # type: ignore[assignment]
    return error


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_throttling_and_outages_pass(status: int) -> None:
    assert is_transient(service_error(status))
    response = httpx.Response(status, request=httpx.Request("GET", "https://localhost"))
    assert is_transient(httpx.HTTPStatusError("", request=response.request, response=response))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_refusals_do_not_pass(status: int) -> None:
    assert not is_transient(service_error(status))


def test_lost_connections_pass_and_bugs_do_not() -> None:
    assert is_transient(ServiceRequestError("connection refused"))
    assert is_transient(httpx.ConnectError("connection refused"))
    assert not is_transient(KeyError("api"))
    assert not is_transient(ResourceNotFoundError("no such job"))


def test_an_outage_is_ridden_out_and_reported() -> None:
    outcomes = [ServiceRequestError("connection refused"), None]
    lines: list[str] = []

    def call() -> str:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return "answer"

    assert ride_out(call, "job x", lines.append) == "answer"
    assert len(lines) == 1
    assert lines[0].startswith("job x: connection refused; trying again in ")


def test_a_refusal_is_raised_at_once() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise service_error(403)

    with pytest.raises(HttpResponseError):
        ride_out(call, "job x", lambda _: None)
    assert len(calls) == 1


def test_patience_ends() -> None:
    def call() -> None:
        raise service_error(503)

    with pytest.raises(HttpResponseError):
        ride_out(call, "job x", lambda _: None, patience_seconds=0)


def test_nobody_waits_longer_than_the_callers_patience() -> None:
    calls: list[str] = []

    def throttled() -> None:
        calls.append("asked")
        raise service_error(429, {"Retry-After": "60"})

    with patience(20), pytest.raises(HttpResponseError):
        ride_out(throttled, "job", calls.append)
    assert calls == ["asked"]


def test_patience_is_one_for_all_that_is_asked_inside_it() -> None:
    calls: list[str] = []

    def unreachable() -> None:
        calls.append("asked")
        raise ServiceRequestError("connection refused")

    with patience(0.5), patience(60):
        for _ in range(2):
            with pytest.raises(ServiceRequestError):
                ride_out(unreachable, "job", lambda _: None)
    assert calls == ["asked", "asked"]


def test_an_outage_begins_with_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("phi_assets.azureml.connection.retry.time.monotonic", lambda: now[0])
    monkeypatch.setattr("phi_assets.azureml.connection.retry.time.sleep", lambda _: None)
    attempts = iter([ServiceRequestError("dropped after a long operation"), None])

    def long_operation() -> str:
        now[0] += 3600
        if error := next(attempts):
            raise error
        return "done"

    assert ride_out(long_operation, "deployment", lambda _: None) == "done"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0.5", 0.5), ("86400", 300), ("soon", 0), (None, 0)])
def test_retry_after_is_honoured_within_reason(header: str | None, seconds: float) -> None:
    headers = {} if header is None else {"Retry-After": header}
    assert retry_after(service_error(429, headers)) == seconds


def test_polls_start_often_and_grow_with_the_time_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    delays = poll_delays()
    seen = {}
    for now in (0.0, 25.0, 10_000.0):
        seen[now] = next(delays)
    assert 0.25 <= seen[0.0] <= 0.35
    assert 0.85 <= seen[25.0] <= 1.15
    assert 25 <= seen[10_000.0] <= 35


def test_waiting_ends_with_the_given_error() -> None:
    with pytest.raises(AzureMLError, match="never"):
        wait_until(lambda: False, 0, lambda: AzureMLError("never"))
    wait_until(lambda: True, 0, lambda: AzureMLError("never"))


def test_one_line_is_the_first_line_without_its_full_stop() -> None:
    assert one_line(service_error(400)) == "the service says no"
    assert one_line(ValueError()) == "ValueError"
