"""What the service takes as traffic is known before it is asked."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import dictionaries, integers, sampled_from

from phi_assets.azureml.connection.errors import TrafficFailed
from phi_assets.azureml.serving.rollout import scaled
from phi_assets.azureml.serving.routing import Routing

NAMES = ["blue", "green", "red"]


def routing(live: dict[str, int], **states: str) -> Routing:
    deployments = {name: SimpleNamespace(provisioning_state=state, tags={}) for name, state in states.items()}
    return Routing("shop", "https://x/score", live, {}, None, deployments)


NOW = routing({"blue": 100}, blue="Succeeded", green="Succeeded", red="Failed")


@pytest.mark.parametrize(
    ("live", "mirror"),
    [
        ({"blue": 100}, {}),
        ({"blue": 90, "green": 10}, {}),
        ({"blue": 100}, {"green": 50}),
        ({}, {}),
        ({}, {"green": 10}),
    ],
)
def test_what_keeps_the_rules_is_taken(live: dict[str, int], mirror: dict[str, int]) -> None:
    NOW.check(live, mirror)


@pytest.mark.parametrize(
    ("live", "mirror", "problem"),
    [
        ({"blue": 90}, {}, "add up to 90 %, not to 0 or 100 %"),
        ({"blue": 90, "green": 20}, {}, "add up to 110 %"),
        ({"blue": 101, "green": -1}, {}, "blue cannot get 101 %"),
        ({"blue": 99.5, "green": 0.5}, {}, "blue cannot get 99.5 %"),
        ({"blue": True}, {}, "blue cannot get True %"),
        ({"blue": 100}, {"green": 51}, "at most 50 % are mirrored"),
        ({"blue": 100}, {"blue": 10}, "blue gets live traffic, and none can be mirrored to it"),
        ({}, {"blue": 10, "green": 10}, "mirrored to one deployment at most, not to blue, green"),
        ({"yellow": 100}, {}, "there is no deployment yellow: materialize online_deployment again"),
        ({"blue": 100}, {"yellow": 10}, "there is no deployment yellow"),
        ({"red": 100}, {}, "deployment red is Failed"),
    ],
)
def test_what_breaks_a_rule_is_refused_here(live: Any, mirror: Any, problem: str) -> None:
    with pytest.raises(TrafficFailed, match=rf"{re.escape(problem)}.*Nothing was changed"):
        NOW.check(live, mirror)


def test_a_broken_deployment_may_keep_the_share_that_it_has() -> None:
    now = routing({"blue": 40, "red": 60}, blue="Succeeded", green="Succeeded", red="Updating")
    now.check({"blue": 30, "red": 60, "green": 10}, {})
    with pytest.raises(TrafficFailed, match="deployment red is Updating"):
        now.check({"blue": 90, "red": 10}, {})


@given(dictionaries(sampled_from(NAMES), integers(0, 100), min_size=1), integers(1, 100))
def test_scaled_shares_add_up_and_nobody_gets_more_than_who_had_more(shares: dict[str, int], total: int) -> None:
    result = scaled(shares, total)
    assert sum(result.values()) == total
    assert all(isinstance(share, int) and share > 0 for share in result.values())
    for one in result:
        for other in result:
            assert shares[one] <= shares[other] or result[one] >= result[other]


def test_shares_keep_their_proportions() -> None:
    assert scaled({"blue": 60, "green": 40}, 90) == {"blue": 54, "green": 36}
    assert scaled({"blue": 90}, 100) == {"blue": 100}
    assert scaled({"blue": 0}, 100) == {"blue": 100}
    assert scaled({"blue": 99, "green": 1}, 10) == {"blue": 10}
