"""How long a fine-tune takes and what a run of the recipe costs, roughly: right within a factor of two or so.

The work is counted in floating point operations, six for each parameter and token, and the GPUs are taken to do a third
of what their data sheets say. It is good enough to tell an hour from a week before anything is submitted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi_assets.azureml.billing.prices import PriceList
from phi_assets.config.dataset import SPLITS
from phi_assets.config.recipe import ComputeSection, Recipe

_OPERATIONS = 6
_EFFICIENCY = 0.33
_STARTING_HOURS = 0.5
"""Nodes that come, images that are pulled, the model that is imported, converted and uploaded."""
_COMPARISON_HOURS = 1.0
"""The base model's deployment: made, asked, deleted."""

# Half precision, dense, by what the name of the VM size ends with; data sheets of NVIDIA.
_GPU_FLOPS = (
    (re.compile(r"h100_v5$", re.IGNORECASE), 989e12),
    (re.compile(r"(a100_v4|nd96asr_v4)$", re.IGNORECASE), 312e12),
    (re.compile(r"(s_v3|nd40rs_v2)$", re.IGNORECASE), 125e12),
    (re.compile(r"t4_v3$", re.IGNORECASE), 65e12),
)

# Model cards; other models say it in their names.
_PARAMETERS = (
    (re.compile(r"^phi-3(\.5)?-mini", re.IGNORECASE), 3.8e9),
    (re.compile(r"^phi-4-mini", re.IGNORECASE), 3.8e9),
    (re.compile(r"^phi-3-small", re.IGNORECASE), 7.4e9),
    (re.compile(r"^phi-3-medium", re.IGNORECASE), 14e9),
    (re.compile(r"^phi-4", re.IGNORECASE), 14.7e9),
)
_IN_NAME = re.compile(r"(?<![a-z0-9])(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Training:
    """How much there is to train on in an epoch."""

    rows: int
    tokens_per_row: float


@dataclass(frozen=True)
class Estimate:
    """Of one run that submits a job and deploys its model; None is what cannot be told."""

    hours: float | None
    """Of the fine-tuning job."""
    most_hours: float
    """After which the recipe has the job cancelled."""
    gpus: int
    """Of all its nodes."""
    training_hourly: float | None
    most_training_hourly: float | None
    """Where its nodes have the dearest priority that they may have."""
    most_preparation_cost: float | None
    """A job for each raw split, on all nodes until the recipe has it cancelled; 0 where no cluster prepares data."""
    serving_cost: float | None
    """The endpoint until its lease ends, and the base model's deployment."""

    @property
    def gpu_hours(self) -> float | None:
        """Of the fine-tuning job."""
        return None if self.hours is None else self.hours * self.gpus

    @property
    def cost(self) -> float | None:
        """Of all of it but the preparation of data: how long that takes is not estimated."""
        if self.hours is None or self.training_hourly is None or self.serving_cost is None:
            return None
        return self.hours * self.training_hourly + self.serving_cost

    @property
    def most_cost(self) -> float | None:
        """Of all of it, where every job runs until it is cancelled."""
        if self.most_training_hourly is None or self.most_preparation_cost is None or self.serving_cost is None:
            return None
        return self.most_hours * self.most_training_hourly + self.most_preparation_cost + self.serving_cost


def estimate(
    recipe: Recipe,
    *,
    epochs: float,
    nodes: int,
    gpus: int,
    training: Training | None,
    prices: PriceList | None,
    tiers: Mapping[str, Sequence[str]],
    preparation_nodes: int = 0,
) -> Estimate:
    """What a run of the recipe would take.

    Args:
        nodes: that the fine-tuning job needs,
        gpus: in each of them.
        tiers: priorities that the nodes of a cluster may have, the likeliest first, by the section that names it.
        preparation_nodes: that jobs which prepare data may get; 0 where the run prepares it.
    """
    compute, serving, preparation = recipe.compute, recipe.serving, recipe.preparation
    hourly = _hourly(compute, nodes, tiers[compute.key], prices)
    prepared = _hourly(preparation, preparation_nodes, tiers[preparation.key], prices) if preparation_nodes else [0.0]
    machine = prices.hourly_price(serving.instance_type) if prices is not None else None
    serving_hours = serving.instance_count * serving.lease_hours
    if recipe.scoring.compare_with_base:
        serving_hours += _COMPARISON_HOURS
    return Estimate(
        hours=_hours(recipe, epochs, nodes * gpus, training),
        most_hours=recipe.finetune.timeout_hours,
        gpus=nodes * gpus,
        training_hourly=hourly[0] if hourly else None,
        most_training_hourly=max(hourly, default=None),
        most_preparation_cost=max(prepared) * preparation.timeout_hours * len(SPLITS) if prepared else None,
        serving_cost=None if machine is None else machine * serving_hours,
    )


def model_parameters(name: str) -> float | None:
    """How many parameters a model of this name has."""
    for pattern, count in _PARAMETERS:
        if pattern.match(name):
            return count
    found = _IN_NAME.search(name)
    return float(found[1]) * 1e9 if found else None


def _hourly(section: ComputeSection, nodes: int, tiers: Sequence[str], prices: PriceList | None) -> list[float]:
    """What so many nodes cost an hour in each of the priorities; nothing where no price is known."""
    found = [prices.hourly_price(section.size, tier) for tier in tiers] if prices is not None else []
    return [price * nodes for price in found if price is not None]


def _hours(recipe: Recipe, epochs: float, gpus: int, training: Training | None) -> float | None:
    size = model_parameters(recipe.model.name)
    speed = next((flops for pattern, flops in _GPU_FLOPS if pattern.search(recipe.compute.size)), None)
    if training is None or size is None or speed is None or not gpus:
        return None
    tokens = training.rows * min(training.tokens_per_row, recipe.contract.context_tokens) * epochs
    seconds = _OPERATIONS * size * tokens / (gpus * speed * _EFFICIENCY)
    return min(_STARTING_HOURS + seconds / 3600, recipe.finetune.timeout_hours)
