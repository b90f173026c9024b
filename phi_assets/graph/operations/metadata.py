"""What is billing, for people."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from phi_assets.azureml.billing.bill import Bill, Billed
from phi_assets.azureml.ownership import project_of
from phi_assets.graph.presentation import rounded
from phi_assets.graph.rendering import table

BILLING_NUMBERS = ("hourly_price", "endpoints", "deployments", "orphans")
"""What a person asks of a bill."""


def billing_metadata(bill: Bill, orphaned: Sequence[Billed]) -> dict[str, Any]:
    """The whole bill as a table, its sums as numbers over time."""
    prices = bill.prices
    return {
        "action": "listed",
        "summary": bill.in_words,
        "hourly_price": rounded(bill.hourly),
        "hourly_by_recipe": dg.MetadataValue.json(_by_recipe(bill)),
        "endpoints": len(bill.of("endpoint")),
        "deployments": len(bill.of("deployment")),
        "nodes": sum(item.machines for item in [*bill.of("cluster"), *bill.of("instance")]),
        "orphans": len(orphaned),
        "leases_ended": sum(item.has_expired for item in bill.of("endpoint")),
        "unpriced": len(bill.unpriced),
        "billing": table(billing_rows(bill, orphaned)),
        "prices": f"{prices.currency}, {prices.region}, as of {prices.as_of}" if prices else "cannot be read",
        "region": bill.region,
    }


def _by_recipe(bill: Bill) -> dict[str, float]:
    """What an hour is known to cost of what was made for each recipe; of what says none, under `none`."""
    sums: dict[str, float] = {}
    for item in bill.items:
        name = item.recipe or "none"
        sums[name] = sums.get(name, 0.0) + (item.hourly or 0.0)
    return {name: rounded(sums[name]) for name in sorted(sums)}


def billing_rows(bill: Bill, orphaned: Sequence[Billed]) -> list[dict[str, str]]:
    """One row for everything that is billing."""
    return [
        {
            "what": item.kind,
            "name": item.name,
            "an hour": "unknown" if item.hourly is None else f"{item.hourly:.2f}",
            "lease ends": _lease(item, bill.at),
            "owner": _owner(item) or "unknown",
            "age": _duration(bill.at - item.created) if item.created else "unknown",
            "state": item.state,
            "machines": f"{item.machines} x {item.size}" if item.machines else "-",
            "remarks": "; ".join(_remarks(item, item in orphaned)),
        }
        for item in bill.items
    ]


def _remarks(item: Billed, is_orphan: bool) -> list[str]:
    return [
        text
        for text, applies in {
            "orphan: this graph does not know it": is_orphan,
            "not this project's": not item.is_ours,
            "its lease has ended": item.has_expired,
            "no price is known for this size": item.hourly is None,
        }.items()
        if applies
    ]


def _owner(item: Billed) -> str:
    """Who stands for it, and the recipe; the project where it is another one."""
    project = "" if item.is_ours else project_of(item.tags)
    words = [item.owner, item.recipe and f"recipe {item.recipe}", project and f"project {project}"]
    return ", ".join(filter(None, words))


def _lease(item: Billed, now: datetime) -> str:
    if item.expires is None:
        return "-"
    left = item.expires - now
    return f"in {_duration(left)}" if left > timedelta() else f"{_duration(-left)} ago"


def _duration(time: timedelta) -> str:
    minutes = max(int(time.total_seconds()), 0) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
