"""Weighted routing is a draw: chi-square tests of its shares, and of each request's independence of the one before."""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from phi_assets.emulator.control import Control
from phi_assets.emulator.serving.front.gate import choose, choose_mirror
from tests.emulator.serving.conftest import Register, deploy, set_traffic
from tests.emulator.serving.echo import ask

# Quantiles of the chi-square distribution by degrees of freedom, for one false alarm in a million.
CRITICAL = {1: 23.93, 2: 27.63, 3: 30.66, 4: 33.38, 8: 42.70}

WEIGHTS = [
    {"blue": 90, "green": 10},
    {"blue": 50, "green": 50},
    {"blue": 10, "green": 30, "red": 60},
    {"a": 1, "b": 99},
]


def chi_square(seen: Mapping[Any, int], expected: Mapping[Any, float]) -> float:
    """Distance of what was seen from shares that sum up to 1."""
    total = sum(seen.values())
    return sum((seen.get(name, 0) - total * share) ** 2 / (total * share) for name, share in expected.items())


def shares(weights: Mapping[str, int]) -> dict[str, float]:
    return {name: weight / 100 for name, weight in weights.items()}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_draws_have_the_shares_of_the_traffic(weights: dict[str, int], seed: int) -> None:
    generator = random.Random(seed)
    drawn = [choose(weights | {"idle": 0}, generator) for _ in range(20_000)]
    assert chi_square(Counter(drawn), shares(weights)) < CRITICAL[len(weights) - 1]
    assert set(drawn) == set(weights)
    pairs = Counter(zip(drawn[::2], drawn[1::2], strict=True))
    expected = {(a, b): weights[a] * weights[b] / 10_000 for a in weights for b in weights}
    assert chi_square(pairs, expected) < CRITICAL[len(expected) - 1]


def test_the_test_would_notice() -> None:
    """Neither equal shares nor taking turns would pass for a 90 to 10 draw."""
    equal = [random.Random(5).choice(["blue", "green"]) for _ in range(400)]
    assert chi_square(Counter(equal), shares({"blue": 90, "green": 10})) > CRITICAL[1]
    turns = (["blue"] * 9 + ["green"]) * 40
    pairs = Counter(zip(turns[::2], turns[1::2], strict=True))
    assert (
        chi_square(
            pairs, {("blue", "blue"): 0.81, ("blue", "green"): 0.09, ("green", "blue"): 0.09, ("green", "green"): 0.01}
        )
        > CRITICAL[3]
    )


def test_copies_are_drawn_by_the_mirrors_percentage() -> None:
    generator = random.Random(11)
    drawn = Counter(choose_mirror({"green": 10}, generator) for _ in range(20_000))
    assert chi_square(drawn, {"green": 0.1, None: 0.9}) < CRITICAL[1]
    assert choose_mirror({}, generator) is None
    assert choose_mirror({"green": 0}, generator) is None


def test_requests_are_routed_by_weight(
    workspace: Any, control: Control, endpoint: str, echo: str, register: Register, front: httpx.Client
) -> None:
    deploy(workspace, endpoint, echo, "blue")
    deploy(workspace, endpoint, register("green"), "green")
    for weights in ({"blue": 75, "green": 25}, {"blue": 10, "green": 90}):
        set_traffic(workspace, endpoint, **weights)
        seen = Counter(front.post("/score", json=ask("x")).headers["azureml-model-deployment"] for _ in range(300))
        assert chi_square(seen, shares(weights)) < CRITICAL[1], seen
    counted = control.requests(endpoint)
    assert sum(counts["live"][200] for counts in counted.values()) == 600
