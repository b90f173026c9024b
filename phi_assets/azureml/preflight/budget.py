"""What a run of the recipe takes and costs, against the recipe's budget."""

from collections.abc import Mapping
from typing import Any

from phi_assets.azureml.billing.prices import PriceList
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.preflight.estimate import Estimate, Training, estimate
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.preflight.machines import Clusters, most_nodes, tiers_of
from phi_assets.config.recipe import Recipe

_LESS = (
    "Sample less (`sample.percent`), train fewer epochs, choose a cheaper VM size or a shorter `serving.lease_hours`, "
    "or raise `budget.{key}`."
)


def look_at_budget(
    recipe: Recipe,
    parameters: Mapping[str, Any],
    *,
    nodes: int,
    gpus: int,
    training: Training | None,
    prices: PriceList | None,
    clusters: Clusters,
    owner: Owner,
    found: Findings,
) -> Estimate:
    """The estimate keeps the recipe's budget; where nothing can be estimated, the jobs' time limits stand for it."""
    found.looked_at.append("budget")
    about = estimate(
        recipe,
        epochs=_epochs(parameters, nodes * gpus, training),
        nodes=nodes,
        gpus=gpus,
        training=training,
        prices=prices,
        tiers={each.key: tiers_of(each, clusters[each.key]) for each in recipe.cluster_sections},
        preparation_nodes=sum(
            most_nodes(each, clusters[each.key], owner, found.accepted) for each in recipe.cluster_sections[1:]
        ),
    )
    budget = recipe.budget
    unit = prices.currency if prices is not None else ""
    _note(about, unit, found)
    if budget.gpu_hours is not None:
        most = about.most_hours * about.gpus
        _compare("gpu_hours", "GPU hours", about.gpu_hours, most, budget.gpu_hours, found)
    if budget.cost is not None:
        if about.most_cost is None:
            sizes = [*(each.size for each in recipe.cluster_sections), recipe.serving.instance_type]
            unpriced = [size for size in sizes if prices is None or prices.hourly_price(size) is None]
            found.error(
                "budget",
                "price_unknown",
                f"VM size {' or '.join(dict.fromkeys(unpriced))}",
                "has no price, so nobody can say whether the budget is kept",
                "Put it into the price file (PHI_PRICES).",
            )
        else:
            _compare("cost", unit, about.cost, about.most_cost, budget.cost, found, about.most_preparation_cost or 0.0)
    return about


def _compare(
    key: str, unit: str, likely: float | None, most: float, limit: float, found: Findings, preparation: float = 0.0
) -> None:
    """`preparation` is what of the most is for preparing data, and of what is likely not."""
    subject = f"Budget of {limit:g} {unit}"
    if likely is not None and likely > limit:
        cause = f"is not enough: a run of this recipe takes about {likely:,.1f} {unit}"
        found.error("budget", f"budget_{key}", subject, cause, _LESS.format(key=key))
    elif most > limit:
        about = f"it takes about {likely:,.1f} {unit}" if likely is not None else "how long it takes cannot be told"
        beside = f", of which {preparation:,.1f} {unit} for preparing data" if preparation else ""
        keys = "`preparation.timeout_hours`, `preparation.max_nodes` or " if preparation else ""
        found.warning(
            "budget",
            f"budget_{key}_at_most",
            subject,
            f"is not guaranteed: {about}{' without preparing data' if preparation and likely is not None else ''}, and "
            f"before its time limit{'s' if preparation else ''} it may take {most:,.1f} {unit}{beside}",
            f"Lower {keys}`finetune.timeout_hours`, after which {'a' if preparation else 'the'} job is cancelled.",
        )


def _epochs(parameters: Mapping[str, Any], gpus: int, training: Training | None) -> float:
    """How often all rows are trained on; `max_steps` goes before the number of epochs."""
    epochs = float(parameters.get("num_train_epochs", 1))
    steps = int(parameters.get("max_steps", -1))
    if steps > 0 and training is not None and training.rows:
        batch = int(parameters.get("per_device_train_batch_size", 1))
        batch *= int(parameters.get("gradient_accumulation_steps", 1)) * gpus
        return steps * batch / training.rows
    return epochs


def _note(about: Estimate, unit: str, found: Findings) -> None:
    numbers = {
        "estimated_hours": about.hours,
        "estimated_gpu_hours": about.gpu_hours,
        "estimated_cost": about.cost,
        "estimated_serving_cost": about.serving_cost,
        "most_preparation_cost": about.most_preparation_cost or None,
        "most_cost": about.most_cost,
    }
    found.facts |= {key: round(value, 2) for key, value in numbers.items() if value is not None}
    if unit:
        found.facts["currency"] = unit
