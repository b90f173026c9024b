"""Whether the region has the machines that the recipe names, and the model may run on them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError
from pydantic import TypeAdapter

from phi_assets.azureml.billing.prices import PriceList
from phi_assets.azureml.compute.claims import CLUSTER_TAKEN, Claim, claim_on, in_use, taken_in_words
from phi_assets.azureml.compute.vm_sizes import Offer, check_size, offered_sizes
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ComputeNotAllowed
from phi_assets.azureml.connection.retry import one_line, silent
from phi_assets.azureml.ownership import Owner, maker_of
from phi_assets.azureml.preflight.asking import Unanswered, read_or_none
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.config.recipe import ComputeSection, Recipe
from phi_assets.refs import ModelRef

Offers = Mapping[str, Offer]
Clusters = Mapping[str, Mapping[str, Any] | None]
"""By the section of the recipe that names it, what the service says of the cluster; None where there is none yet."""

_EDIT = "Edit `compute.size`."
_DURATION = TypeAdapter(timedelta)


def look_at_machines(
    ws: Workspace, recipe: Recipe, model: ModelRef | None, prices: PriceList | None, found: Findings
) -> tuple[Offers, Clusters]:
    """What the region offers, by lower-cased name, and the recipe's clusters."""
    found.looked_at.append("machines")
    try:
        offers = offered_sizes(ws)
    except AzureError as error:
        found.warning(
            "machines", "sizes_unknown", "The region", f"does not show its VM sizes: {one_line(error)}", "Run again."
        )
        offers = {}
    finetune = model.finetune_computes if model is not None else None
    inference = model.inference_computes if model is not None else None
    _look_at_size(recipe.compute.size, "compute.size", offers, finetune, prices, found, needs_gpu=True)
    if model is not None and not found.has_errors("machines"):
        try:
            check_size(recipe.compute.size, model)
        except ComputeNotAllowed as error:
            subject = f"VM size {recipe.compute.size}"
            found.error("machines", "size_unsupported", subject, f"cannot be used: {one_line(error)}", _EDIT)
    _look_at_size(recipe.serving.instance_type, "serving.instance_type", offers, inference, prices, found)
    for section in recipe.cluster_sections[1:]:
        _look_at_size(section.size, f"{section.key}.size", offers, None, prices, found)
        _look_at_names(recipe.compute, section, found)
    owner = ws.owner(recipe.name)
    return offers, {each.key: _look_at_cluster(ws, each, owner, found) for each in recipe.cluster_sections}


def tiers_of(section: ComputeSection, cluster: Mapping[str, Any] | None) -> Sequence[str]:
    """Priorities that the cluster's nodes may have, the likeliest first: one that exists keeps its own."""
    return section.tiers if cluster is None else [str(_inner(cluster).get("vmPriority") or "Dedicated")]


def most_nodes(
    section: ComputeSection, cluster: Mapping[str, Any] | None, owner: Owner, accepted: Collection[str]
) -> int:
    """Nodes that the recipe's jobs may get of the cluster: one that is used as it is keeps its own limit."""
    if cluster is None or claim_on(cluster.get("tags"), section, owner, accepted) is not Claim.FIXED:
        return section.max_nodes
    return int((_inner(cluster).get("scaleSettings") or {}).get("maxNodeCount") or section.max_nodes)


def _look_at_names(training: ComputeSection, other: ComputeSection, found: Findings) -> None:
    if training.name.lower() == other.name.lower() and training.size.lower() != other.size.lower():
        found.error(
            "machines",
            "cluster_size",
            f"Cluster {other.name}",
            f"would have VM size {training.size} by `{training.key}` and {other.size} by `{other.key}`",
            f"Give `{other.key}.name` another name.",
        )


def _look_at_size(
    size: str,
    key: str,
    offers: Offers,
    allowed: Sequence[str] | None,
    prices: PriceList | None,
    found: Findings,
    *,
    needs_gpu: bool = False,
) -> None:
    choices = _choices(offers, allowed, prices, needs_gpu=needs_gpu)
    next_step = f"Set `{key}` to one of: {', '.join(choices)}." if choices else "Ask for another region."
    what = "fine-tune" if needs_gpu else "serve"
    offer = offers.get(size.lower())
    if allowed is not None and size.lower() not in {each.lower() for each in allowed}:
        cause = f"may not {what} this model, by the registry's list (`{key}`)"
        found.error("machines", "size_not_allowed", f"VM size {size}", cause, next_step)
    elif offers and offer is None:
        cause = f"is not offered in this region (`{key}`)"
        found.error("machines", "size_not_offered", f"VM size {size}", cause, next_step)
    elif offer is not None and needs_gpu and not offer.gpus:
        found.error("machines", "size_without_gpu", f"VM size {size}", f"has no GPU (`{key}`)", next_step)


def _choices(offers: Offers, allowed: Sequence[str] | None, prices: PriceList | None, *, needs_gpu: bool) -> list[str]:
    """Sizes that the model may run on and the region has, the cheapest first."""
    names = allowed if allowed is not None else [offer.name for offer in offers.values() if offer.gpus or not needs_gpu]
    there = [name for name in names if not offers or name.lower() in offers]

    def price(name: str) -> float:
        return (prices.hourly_price(name) if prices is not None else None) or float("inf")

    return sorted(there, key=price)


def _look_at_cluster(ws: Workspace, section: ComputeSection, owner: Owner, found: Findings) -> dict[str, Any] | None:
    if section.min_nodes > section.max_nodes:
        found.error(
            "machines",
            "node_limits",
            f"Cluster {section.name}",
            f"would have at least {section.min_nodes} and at most {section.max_nodes} nodes",
            f"Set `{section.key}.min_nodes` to no more than `{section.key}.max_nodes`.",
        )
    if section.min_nodes:
        found.warning(
            "machines",
            "nodes_always_on",
            f"Cluster {section.name}",
            f"keeps {section.min_nodes} node(s) that are billed day and night",
            f"Set `{section.key}.min_nodes: 0`: nodes come when a job needs them.",
        )
    try:
        cluster = read_or_none(ws, f"{ws.path}/computes/{section.name}")
    except Unanswered as error:
        found.warning(
            "machines", "cluster_unknown", f"Cluster {section.name}", f"cannot be read: {error}", "Run again."
        )
        return None
    if cluster is None:
        return None
    outer = cluster.get("properties") or {}
    size = str(_inner(cluster).get("vmSize") or "")
    if str(outer.get("computeType")).lower() != "amlcompute":
        found.error(
            "machines",
            "cluster_kind",
            f"Compute {section.name}",
            f"exists, and is of type {outer.get('computeType')}, not a cluster",
            f"Give `{section.key}.name` another name.",
        )
    elif size.lower() != section.size.lower():
        found.error(
            "machines",
            "cluster_size",
            f"Cluster {section.name}",
            f"exists with VM size {size}, not {section.size}, and a cluster's size cannot be changed",
            f"Set `{section.key}.size: {size}`, or give `{section.key}.name` another name.",
        )
    else:
        _look_at_claim(ws, cluster, section, owner, found)
    return cluster


def _look_at_claim(
    ws: Workspace, cluster: Mapping[str, Any], section: ComputeSection, owner: Owner, found: Findings
) -> None:
    """Whether the recipe may use the cluster, and make it as it asks for."""
    tags, subject = cluster.get("tags"), f"Cluster {section.name}"
    claim = claim_on(tags, section, owner, found.accepted)
    if claim is Claim.NONE or (claim is Claim.FIXED and CLUSTER_TAKEN in found.accepted):
        found.error("machines", CLUSTER_TAKEN, subject, *taken_in_words(tags, section, owner))
    drift = _limits_drift(cluster, section)
    if claim is Claim.FIXED and drift:
        cause = f"was made by {maker_of(tags)}, is used as it is, and differs from the recipe: {drift}"
        found.warning("machines", "cluster_settings", subject, cause, f"Write into `{section.key}` what it has.")
    if claim is Claim.SHARED and drift and (use := in_use(ws, section.name, silent)) is not None:
        found.error(
            "machines",
            "cluster_of_another_recipe",
            subject,
            f"was made by {maker_of(tags)}, {use}, and it differs from the recipe: {drift}",
            f"Write into `{section.key}` what it has, give `{section.key}.name` another name, or run again when it is "
            "idle.",
        )


def _inner(cluster: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the service says of its machines."""
    return (cluster.get("properties") or {}).get("properties") or {}


def _seconds(duration: Any, otherwise: int) -> int:
    """Of an ISO 8601 duration, as the service writes it."""
    try:
        return int(_DURATION.validate_python(duration).total_seconds())
    except ValueError:
        return otherwise


def _limits_drift(cluster: Mapping[str, Any], section: ComputeSection) -> str:
    """What of the scale limits differs from the recipe, in words; empty where nothing does."""
    scale = _inner(cluster).get("scaleSettings") or {}
    pairs = {
        "min_nodes": (int(scale.get("minNodeCount") or 0), section.min_nodes),
        "max_nodes": (int(scale.get("maxNodeCount") or 0), section.max_nodes),
        "idle_seconds": (
            _seconds(scale.get("nodeIdleTimeBeforeScaleDown"), section.idle_seconds),
            section.idle_seconds,
        ),
    }
    return ", ".join(f"{key} {have} instead of {want}" for key, (have, want) in pairs.items() if have != want)
