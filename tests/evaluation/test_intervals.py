"""Intervals hold the true mean about as often as they promise, and say nothing where nothing can be said."""

import random

import pytest

from phi_assets.evaluation.intervals import Interval, mean_interval, paired_difference


def test_the_same_values_and_seed_have_the_same_interval() -> None:
    values = [3.0, 9.5, 20.0, 41.0, 7.0]
    first = mean_interval(values, seed=1)
    assert first == mean_interval(values, seed=1)
    assert first != mean_interval(values, seed=4)
    assert first is not None
    assert first.low is not None
    assert first.high is not None
    assert first.mean == pytest.approx(16.1)
    assert min(values) <= first.low < first.mean < first.high <= max(values)


def test_it_holds_the_true_mean_as_often_as_it_says() -> None:
    rng = random.Random(7)
    held = 0
    for number in range(100):
        found = mean_interval([rng.gauss(10, 4) for _ in range(20)], seed=number)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 10 <= found.high
    # 95 of a hundred are promised; twenty values give a little less.
    assert 86 <= held <= 99


def test_more_values_make_it_narrower() -> None:
    rng = random.Random(3)
    values = [rng.gauss(50, 10) for _ in range(400)]
    few, many = mean_interval(values[:20], seed=0), mean_interval(values, seed=0)
    assert few is not None
    assert many is not None
    assert width(many) < width(few) / 2


def width(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


def test_no_value_one_value_and_equal_values() -> None:
    assert mean_interval([], seed=0) is None
    assert mean_interval([4.0], seed=0) == Interval(mean=4, low=None, high=None, count=1)
    assert mean_interval([4.0] * 5, seed=0) == Interval(mean=4, low=4, high=4, count=5)


def test_a_difference_is_taken_question_by_question() -> None:
    rng = random.Random(5)
    old = [rng.uniform(0, 80) for _ in range(30)]
    new = [value + rng.uniform(1, 5) for value in old]
    found = paired_difference(new, old, seed=0)
    assert found is not None
    assert found.is_above_zero
    assert 2 < found.mean < 4
    # Not paired, the values vary so much that nothing could be told.
    assert width(found) < 2
    back = paired_difference(old, new, seed=0)
    assert back is not None
    assert back.is_below_zero


def test_chance_is_no_difference() -> None:
    rng = random.Random(11)
    old = [rng.gauss(40, 10) for _ in range(30)]
    found = paired_difference([value + rng.gauss(0, 5) for value in old], old, seed=0)
    assert found is not None
    assert not found.is_above_zero
    assert not found.is_below_zero


@pytest.mark.parametrize("count", [1, 2, 5, 6])
@pytest.mark.parametrize("sign", [1, -1])
def test_few_questions_prove_nothing(count: int, sign: int) -> None:
    found = paired_difference([sign * (5.0 + number) for number in range(count)], [0.0] * count, seed=0)
    assert found is not None
    assert (found.is_above_zero, found.is_below_zero) == (count == 6 and sign == 1, count == 6 and sign == -1)


def test_every_new_value_needs_an_old_one() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 2.0], [1.0], seed=0)
