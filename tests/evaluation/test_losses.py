"""What speaks for a training that has diverged, and what does not."""

import math

import pytest

from phi_assets.azureml.training.metrics import MetricPoint
from phi_assets.evaluation.losses import are_proven, divergence, first_and_last

GOOD = (2.0, 1.6, 1.8, 1.5)


def points(*values: float, every: int = 10) -> list[MetricPoint]:
    """One value every so many steps; NaN where none was recorded."""
    steps = enumerate(values, start=1)
    return [MetricPoint(value=value, step=number * every) for number, value in steps if not math.isnan(value)]


NONE = math.nan
RATE = points(0.1, 0.1, 0.1, 0.1)

HEALTHY = {
    "a loss that falls": {"loss": points(*GOOD), "learning_rate": RATE},
    "one that rises is another check's": {"loss": points(1, 2, 3, 4), "learning_rate": RATE},
    "nothing recorded": {},
    "no learning rate": {"loss": points(*GOOD)},
    "too short for a loss": {"eval_loss": points(1.0), "eval_runtime": points(0.3)},
    "a resumed job that records steps again": {"loss": [*points(*GOOD), *points(*GOOD)], "learning_rate": RATE},
    "a zero that was passed": {"loss": points(2.0, 0.0, 1.8, 1.5), "learning_rate": RATE},
    "epochs without steps": {
        "loss": points(*GOOD, every=0),
        "learning_rate": points(*GOOD, every=0),
        "eval_loss": points(1.0, 0.9, every=0),
        "eval_runtime": points(1.0, 0.9, every=0),
    },
}

DIVERGED = {
    "missing": ({"learning_rate": RATE}, "loss was not recorded at 4 of 4 occasions (the first at step 10)"),
    "stopped": (
        {"loss": points(2.0, 1.6, NONE, NONE), "learning_rate": RATE},
        "loss was not recorded at 2 of 4 occasions (the first at step 30), though learning_rate was",
    ),
    "a gap": (
        {"loss": points(2.0, NONE, 1.6, 1.5), "learning_rate": RATE},
        "at 1 of 4 occasions (the first at step 20)",
    ),
    "stopped, without steps": (
        {"loss": points(2.0, 1.0, every=0), "learning_rate": points(1, 1, 1, every=0)},
        "loss was not recorded at 1 of 3 occasions",
    ),
    "zero to the end": ({"loss": points(2.0, 0.5, 0.0, 0.0), "learning_rate": RATE}, "The loss is 0 from step 30 on"),
    "zero throughout": ({"loss": points(0.0), "learning_rate": points(0.1)}, "The loss is 0 from step 10 on"),
    "no evaluation": (
        {"loss": points(*GOOD), "learning_rate": RATE, "eval_runtime": points(0.3, 0.3)},
        "eval_loss was not recorded at 2 of 2 occasions",
    ),
}

LINES = {
    "{'loss': nan, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': 0.5}": True,
    "{'loss': 'nan', 'grad_norm': 'nan'}": True,
    "{'eval_loss': inf}": True,
    "train_loss=-inf": True,
    "step 4: loss NaN": True,
    # A scaler of 16-bit gradients skips such steps, and nothing is lost.
    "{'loss': 2.1, 'grad_norm': nan}": False,
    "{'loss': 2.1, 'grad_norm': inf}": False,
    "loss information follows": False,
    "logging_nan_inf_filter=True, loss_type=None": False,
    "the loss: information theory": False,
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_says_nothing(name: str) -> None:
    assert divergence(HEALTHY[name], {"loss": 1.5, "grad_norm": math.inf}, ["{'loss': 1.5}"]) == ()


@pytest.mark.parametrize("name", DIVERGED)
def test_what_azure_leaves_of_a_loss_that_is_no_number(name: str) -> None:
    curves, says = DIVERGED[name]
    (said,) = divergence(curves, {}, [])
    assert says in said


@pytest.mark.parametrize("line", LINES)
def test_lines_of_the_log(line: str) -> None:
    said = divergence({}, {}, ["{'loss': 2.0}", f"step | {line}", f"step | {line}"])
    assert bool(said) is LINES[line]
    if said:
        assert said[0].startswith("Losses that are no numbers in the steps' logs: 2, the first in step | ")
        assert said[0].endswith(f"step | {line}")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_last_value_that_is_no_number(value: float) -> None:
    (said,) = divergence({}, {"train_loss": value, "eval_loss": 1.0}, [])
    assert said == f"No finite number: train_loss is {value}."


def test_ends_are_means_of_a_tenth() -> None:
    assert first_and_last(points(*range(1, 21))) == (1.5, 19.5)
    assert first_and_last(points(3, 1)) == (3, 1)
    assert first_and_last(points(3)) is None
    assert first_and_last([]) is None


@pytest.mark.parametrize("name", HEALTHY)
def test_losses_are_proven_by_what_was_recorded_with_each_of_them(name: str) -> None:
    unproven = {"nothing recorded", "no learning rate", "too short for a loss"}
    assert are_proven(HEALTHY[name]) is (name not in unproven)


@pytest.mark.parametrize("name", [name for name in DIVERGED if not name.startswith("zero")])
def test_a_loss_that_is_missing_is_not_proven(name: str) -> None:
    assert not are_proven(DIVERGED[name][0])
