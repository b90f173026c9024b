"""Whose a cluster is, and what follows from that: it is changed, used as it is, or not used at all."""

from collections.abc import Collection
from enum import Enum

import httpx
from azure.core.exceptions import AzureError

from phi_assets.azureml.compute.condition import cluster_condition
from phi_assets.azureml.compute.live_jobs import live_jobs
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, one_line
from phi_assets.azureml.ownership import Owner, Tags, Whose, maker_of
from phi_assets.config.recipe import ComputeSection

CLUSTER_TAKEN = "cluster_taken"
"""Preflight's code for a cluster that is not this project's to use."""


class Claim(Enum):
    """What a recipe may do with a cluster that exists."""

    OWN = "change it, and make it again where it is broken"
    SHARED = "the same, but only while it has neither nodes nor jobs: another recipe of the project has made it"
    FIXED = "use it as it is"
    NONE = "nothing"


def claim_on(tags: Tags, section: ComputeSection, owner: Owner, accepted: Collection[str]) -> Claim:
    """What the recipe may do with the cluster of its name that carries these tags.

    Clusters belong to the project: its recipes share one where their settings agree. One that nobody's tags are on is
    used as it is where the recipe itself names it, as companies have fixed clusters; a name by default names none.
    """
    whose = owner.whose(tags)
    if whose is Whose.OURS:
        return Claim.OWN
    if whose is Whose.OTHER_RECIPE:
        return Claim.SHARED
    is_named = whose is Whose.SOMEBODYS and "name" in section.model_fields_set
    return Claim.FIXED if is_named or CLUSTER_TAKEN in accepted else Claim.NONE


def taken_in_words(tags: Tags, section: ComputeSection, owner: Owner) -> tuple[str, str]:
    """Why a cluster is not used, as a clause that goes on from its name, and what to do about it."""
    ways = f"accept it, to use it as it is: `preflight.accept: [{CLUSTER_TAKEN}]`"
    if owner.whose(tags) is Whose.SOMEBODYS:
        ways = f"write `{section.key}.name: {section.name}` into the recipe, to use it as it is"
    return f"exists and was made by {maker_of(tags)}", f"Give `{section.key}.name` another name, or {ways}."


def in_use(ws: Workspace, name: str, log: Log) -> str | None:
    """What the cluster is needed for, or why that cannot be told, as a clause; None where it has no node and no job."""
    condition = cluster_condition(ws, name, log)
    if condition.unknown:
        return condition.unknown
    if nodes := max(condition.current, condition.target):
        return f"it has {nodes} node(s)"
    try:
        jobs = live_jobs(ws, log)
    except (AzureError, httpx.HTTPError) as error:
        return f"its jobs cannot be listed ({one_line(error)})"
    return next((job.in_words for job in jobs if job.may_use(name)), None)
