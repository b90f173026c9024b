"""Whether the subscription's quota has room for the clusters and for the deployments.

A limit that is too low for even one of them is an error: asking again later changes nothing. Cores that are merely in
use now are a warning: they may well be this recipe's own, of an endpoint that will be kept or a job that runs.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phi_assets.azureml.compute.vm_sizes import Offer, deployment_cores
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.preflight.asking import Unanswered, read_all, region_path
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.preflight.machines import Clusters, Offers
from phi_assets.config.recipe import ComputeSection, Recipe

_TOTAL = {"Dedicated": "totalclusterdedicatedregional", "LowPriority": "totalclusterlowpriorityregional"}

HOW_TO_ASK = "https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas"


@dataclass(frozen=True)
class Quota:
    """Cores of a VM family, or of all of them together."""

    name: str
    """As the portal shows it, for a request to be copied from."""
    limit: int
    used: int


Quotas = Mapping[str, Quota]
"""By what is left of the service's names without case, blanks and the words that are the same in all of them."""


def look_at_quota(
    ws: Workspace, region: str, recipe: Recipe, offers: Offers, clusters: Clusters, nodes: int, found: Findings
) -> None:
    """`nodes` is what the fine-tuning job needs. One that prepares data needs one, and is done sooner with more."""
    found.looked_at.append("quota")
    try:
        quotas = read_quotas(read_all(ws, f"{region_path(ws, region)}/usages"))
    except Unanswered as error:
        found.warning(
            "quota", "quota_unknown", f"Quota of region {region}", f"cannot be read: {error}", f"See {HOW_TO_ASK}."
        )
        return
    for section in recipe.cluster_sections:
        offer = offers.get(section.size.lower())
        if offer is not None:
            need = nodes if section.key == "compute" else 1
            _look_at_cluster(section, region, quotas, offer, need, _nodes_of(clusters[section.key]), found)
    machine = offers.get(recipe.serving.instance_type.lower())
    if machine is not None:
        _look_at_deployment(recipe, region, quotas, machine, found)


def read_quotas(usages: Iterable[Mapping[str, Any]]) -> Quotas:
    """The usages that the service lists; the family of a VM size finds its own."""
    quotas: dict[str, Quota] = {}
    for usage in usages:
        name = usage.get("name") or {}
        shown = str(name.get("localizedValue") or name.get("value") or "")
        quota = Quota(shown, int(usage.get("limit") or 0), int(usage.get("currentValue") or 0))
        for each in (name.get("value"), name.get("localizedValue")):
            quotas[_plain(str(each or ""))] = quota
    return quotas


def _plain(name: str) -> str:
    return re.sub(r"(cluster dedicated |cluster )?vcpus$", "", name.lower()).replace(" ", "").replace("_", "")


def _nodes_of(cluster: Mapping[str, Any] | None) -> int:
    inner = ((cluster or {}).get("properties") or {}).get("properties") or {}
    return int(inner.get("currentNodeCount") or 0)


def _look_at_cluster(
    section: ComputeSection, region: str, quotas: Quotas, offer: Offer, nodes: int, own_nodes: int, found: Findings
) -> None:
    """One of the tiers that the recipe names has to have room; the first that has is the one that is used."""
    need, own = nodes * offer.cores, own_nodes * offer.cores
    subject = f"Cluster {section.name} ({nodes} x {offer.name})"
    found.facts["cluster_cores" if section.key == "compute" else f"{section.key}_cores"] = need
    short: list[str] = []
    waits: list[str] = []
    for tier in section.tiers:
        names = [_TOTAL[tier]] if tier == "LowPriority" else [_plain(offer.family), _TOTAL[tier]]
        concerned = _known(quotas, names, region, offer, found)
        too_low = [quota for quota in concerned if 0 <= quota.limit < need]
        busy = [quota for quota in concerned if 0 <= quota.limit < quota.used - own + need]
        if not too_low and not busy:
            if short or waits:
                found.warning(
                    "quota",
                    "cluster_tier",
                    subject,
                    f"will be {tier}: {' '.join([*short, *waits])}",
                    f"A {tier} node can be taken away at any time. {_ask(region)}",
                )
            return
        (short if too_low else waits).append(_in_words(too_low or busy, need, f"{tier}: "))
    if waits:
        found.warning(
            "quota",
            "cluster_quota_in_use",
            subject,
            f"has to wait for cores that are in use now: {' '.join(waits)}",
            "The job stays Queued until they are free. " + _ask(region),
        )
    else:
        found.error(
            "quota", "cluster_quota", subject, f"needs more cores than the quota has: {' '.join(short)}", _ask(region)
        )


def _look_at_deployment(recipe: Recipe, region: str, quotas: Quotas, offer: Offer, found: Findings) -> None:
    instances = recipe.serving.instance_count
    need = deployment_cores(offer.name, offer.cores, instances)
    subject = f"Deployment ({instances} x {offer.name})"
    reserve = " with the service's reserve of 20 %" if need > instances * offer.cores else ""
    found.facts["deployment_cores"] = need
    concerned = _known(quotas, [_plain(offer.family), _TOTAL["Dedicated"]], region, offer, found)
    too_low = [quota for quota in concerned if 0 <= quota.limit < need]
    if too_low:
        found.error(
            "quota",
            "deployment_quota",
            subject,
            f"needs more cores than the quota has{reserve}: {_in_words(too_low, need)}",
            _ask(region),
        )
        return
    # A new version starts beside the old one; the base model is deployed for a while on a machine of its own.
    extra = deployment_cores(offer.name, offer.cores, 1) if recipe.scoring.compare_with_base else 0
    busy = [quota for quota in concerned if 0 <= quota.limit < quota.used + need + extra]
    if busy:
        with_base = " and the base model's beside it" if extra else ""
        found.warning(
            "quota",
            "deployment_quota_in_use",
            subject,
            f"may not find room for a new version{with_base}{reserve}: {_in_words(busy, need + extra)}",
            f"{_ask(region)} `scoring.compare_with_base: false` needs less.",
        )


def _known(quotas: Quotas, names: Iterable[str], region: str, offer: Offer, found: Findings) -> list[Quota]:
    names = list(names)
    if _plain(offer.family) in names and _plain(offer.family) not in quotas:
        warned = any(each.code == "quota_of_family_unknown" and offer.family in each.subject for each in found.all)
        if not warned:
            found.warning(
                "quota",
                "quota_of_family_unknown",
                f"VM family {offer.family}",
                f"is not among the quotas of region {region}",
                f"{'New subscriptions have none of GPU families. ' if offer.gpus else ''}See {HOW_TO_ASK}.",
            )
    return [quotas[name] for name in names if name in quotas]


def _in_words(quotas: Iterable[Quota], need: int, before: str = "") -> str:
    return " ".join(
        f"{before}{quota.name}: limit {quota.limit}, in use {quota.used}, needed {need}; ask for a new limit of "
        f"{quota.used + need}."
        for quota in quotas
    )


def _ask(region: str) -> str:
    return f"Ask for it in Studio under Manage > Quota, region {region} ({HOW_TO_ASK}), or choose a smaller VM size."
