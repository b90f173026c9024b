"""What a job took that has prepared data."""

from collections.abc import Callable
from typing import Any

from phi_assets.azureml.billing.prices import PriceList
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, one_line
from phi_assets.azureml.preparation.samples import PreparedBeside
from phi_assets.azureml.training.history import UNREADABLE
from phi_assets.azureml.training.usage import job_usage


def preparation_spending(
    ws: Workspace, made: PreparedBeside, prices: Callable[[], PriceList | None], warn: Log
) -> dict[str, Any]:
    """Metadata of a job that this run has met: `node_hours`, and `estimated_cost` where the VM size has a price."""
    if made.compute is None:
        return {}
    try:
        usage = job_usage(ws, made.job, gpus=0)
    except UNREADABLE as error:
        # A sample that is there is worth more than its price.
        warn(f"What job {made.job} took cannot be read ({one_line(error)}).")
        return {}
    known = prices()
    price = known.hourly_price(made.compute.size, made.compute.tier) if known else None
    cost = {"estimated_cost": usage.node_hours * price, "currency": known.currency} if known and price else {}
    return {"node_hours": usage.node_hours, **cost}
