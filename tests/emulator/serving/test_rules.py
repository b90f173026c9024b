"""Names, traffic and numbers that the service takes and refuses."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from phi_assets.emulator.serving.front.gate import Gate, choose
from phi_assets.emulator.serving.rules import (
    DeploymentSettings,
    check_deployment,
    checked_traffic,
    with_defaults,
)
from phi_assets.emulator.wire.errors import ServiceError

STATES = {"blue": "Succeeded", "green": "Succeeded", "new": "Creating"}


def test_traffic_is_kept_in_lower_case() -> None:
    assert checked_traffic({"Blue": 90, "green": 10}, None, STATES) == ({"blue": 90, "green": 10}, {})
    assert checked_traffic({}, {}, STATES) == ({}, {})
    assert checked_traffic({"blue": 100}, {"Green": 50}, STATES) == ({"blue": 100}, {"green": 50})


def test_a_deployment_may_keep_its_traffic_while_it_is_updated() -> None:
    states = {"blue": "Updating", "green": "Succeeded"}
    assert checked_traffic({"blue": 100}, {}, states, {"blue": 100}) == ({"blue": 100}, {})
    with pytest.raises(ServiceError, match="in Updating provisioning state"):
        checked_traffic({"blue": 90, "green": 10}, {}, states, {"blue": 100})


@pytest.mark.parametrize(
    ("traffic", "mirror", "reason"),
    [
        ({"blue": 50}, {}, "sum up to 0 or 100"),
        ({"blue": 100, "green": 10}, {}, "sum up to 0 or 100"),
        ({"blue": 100.0}, {}, "whole number"),
        ({"blue": -1}, {}, "whole number"),
        ({"blue": True}, {}, "whole number"),
        (["blue"], {}, "must map"),
        ({"red": 100}, {}, "'red', which does not exist in this endpoint .existing: blue, green, new"),
        ({"new": 100}, {}, "in Creating provisioning state"),
        ({"blue": 100}, {"green": 51}, "At most 50 %"),
        ({"blue": 100}, {"blue": 10}, "not both"),
        ({"blue": 100}, {"green": 10, "blue": 0}, "one deployment only"),
    ],
)
def test_traffic_that_breaks_a_rule_is_refused(traffic: Any, mirror: Any, reason: str) -> None:
    with pytest.raises(ServiceError, match=reason) as refused:
        checked_traffic(traffic, mirror, STATES)
    assert refused.value.status == 400


def settings(capacity: int = 1, **properties: Any) -> DeploymentSettings:
    return DeploymentSettings.of({"capacity": capacity}, with_defaults(properties))


def test_defaults_are_those_of_the_service() -> None:
    found = settings()
    assert (found.request_timeout, found.max_concurrent, found.max_pending) == (5, 1, 2)
    assert found.liveness == found.readiness
    assert (found.liveness.initial_delay, found.liveness.period, found.liveness.timeout) == (10, 10, 2)
    assert found.liveness.patience == 310
    assert with_defaults({})["scaleSettings"] == {"scaleType": "Default"}


def test_what_the_sdk_sends_is_understood() -> None:
    """Null means absent, durations are ISO 8601, and one probe setting leaves the others at their defaults."""
    found = settings(
        3,
        livenessProbe={"initialDelay": "PT10M", "period": None},
        requestSettings={"requestTimeout": "PT1M30S", "maxConcurrentRequestsPerInstance": 4},
    )
    assert (found.liveness.initial_delay, found.liveness.period) == (600, 10)
    assert (found.request_timeout, found.concurrency, found.max_pending) == (90, 12, 24)


@pytest.mark.parametrize(
    ("capacity", "properties", "reason"),
    [
        (0, {}, "sku.capacity"),
        (51, {}, "from 1 to 50"),
        (1, {"requestSettings": {"requestTimeout": "PT3M0.001S"}}, "at most 180 seconds"),
        (1, {"requestSettings": {"requestTimeout": "PT0S"}}, "more than 0"),
        (1, {"requestSettings": {"requestTimeout": "5 s"}}, "ISO 8601"),
        (1, {"requestSettings": {"maxConcurrentRequestsPerInstance": 0}}, "maxConcurrentRequestsPerInstance"),
        (1, {"livenessProbe": {"period": "PT0S"}}, "livenessProbe.period"),
        (1, {"readinessProbe": {"failureThreshold": 0}}, "readinessProbe.failureThreshold"),
    ],
)
def test_numbers_out_of_range_are_refused(capacity: int, properties: dict[str, Any], reason: str) -> None:
    with pytest.raises(ServiceError, match=reason):
        settings(capacity, **properties)


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({}, "names no model"),
        ({"model": "m", "endpointComputeType": "Kubernetes"}, "only Managed"),
        ({"model": "m", "scaleSettings": {"scaleType": "TargetUtilization"}}, "scale type Default only"),
        ({"model": "m", "codeConfiguration": {"codeId": "c", "scoringScript": "s.py"}}, "names an environment"),
        ({"model": "m", "environmentId": "e", "codeConfiguration": {"codeId": "c"}}, "scoring script in it"),
        ({"model": "m", "environmentVariables": {"A": 1}}, "names to texts"),
        *(
            ({"model": "m", "environmentVariables": {"WORKER_COUNT": count}}, f"from 1 to 16, not '{count}'")
            for count in ("0", "17", "two", "-1", "1.5", "")
        ),
    ],
)
def test_deployments_that_cannot_be_served_are_refused(properties: dict[str, Any], reason: str) -> None:
    with pytest.raises(ServiceError, match=reason):
        check_deployment(with_defaults(properties))


def test_requests_are_spread_by_the_percentages() -> None:
    drawn = Counter(choose({"blue": 90, "green": 10, "red": 0}, generator) for generator in [random.Random(7)] * 4000)
    assert set(drawn) == {"blue", "green"}
    assert 0.08 < drawn["green"] / 4000 < 0.12
    assert choose({"blue": 0}, random.Random(7)) is None
    assert choose({}, random.Random(7)) is None


def test_the_gate_lets_few_through_more_wait_and_the_rest_go() -> None:
    async def scene() -> None:
        gate = Gate(settings(requestSettings={"maxConcurrentRequestsPerInstance": 2}))
        inside = 0
        most = 0
        leave = asyncio.Event()

        async def visit() -> None:
            nonlocal inside, most
            async with gate.passage("blue"):
                inside += 1
                most = max(most, inside)
                await leave.wait()
                inside -= 1

        visits = [asyncio.create_task(visit()) for _ in range(4)]
        await asyncio.sleep(0)
        assert gate.pending == 4
        with pytest.raises(ServiceError) as refused:
            async with gate.passage("blue"):
                pytest.fail("a fifth request must not pass")
        assert refused.value.status == 429
        assert "at most 4" in refused.value.message
        leave.set()
        await asyncio.gather(*visits)
        assert (most, gate.pending) == (2, 0)

    asyncio.run(scene())
