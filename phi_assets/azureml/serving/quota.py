"""Quota of online deployments: how much one needs, and what to do where there is not enough."""

import re
from dataclasses import dataclass

from azure.core.exceptions import AzureError

from phi_assets.azureml.compute.vm_sizes import deployment_cores, has_reserve, offered_sizes
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import AzureMLError
from phi_assets.azureml.connection.retry import Log, one_line, patience
from phi_assets.config.recipe import ServingSection

_PATIENCE_SECONDS = 60.0

_REQUEST = "https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas"

# What else may be used up, by a word of the message, with what helps:
# https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#error-outofquota
_OTHERS = {
    r"role assignment": (
        "The subscription has as many role assignments as it may have.",
        "Delete some that nobody needs (Access control in the portal).",
    ),
    r"\bdisk": (
        "The model does not fit on the machine's disk.",
        "Set `serving.instance_type` to a size with a larger one.",
    ),
    r"\bmemory": (
        "The model does not fit into the machine's memory.",
        "Set `serving.instance_type` to a size with more of it.",
    ),
    r"\bcapacity": (
        "The region has no machines of this size left at the moment.",
        "Run again later, or set `serving.instance_type` to another size.",
    ),
    r"\b(?:deployments|endpoints)\b": (
        "There are as many endpoints or deployments as there may be.",
        "Delete some that nobody needs; `python -m phi_assets still-billing` lists those of the workspace.",
    ),
}


@dataclass(frozen=True)
class CoreNeed:
    """Cores of quota that a deployment takes."""

    cores: int
    family: str
    has_reserve: bool


def core_need(ws: Workspace, size: str, instances: int, log: Log) -> CoreNeed | None:
    """What a deployment of so many instances needs; None for a size that the region does not offer."""
    offer = offered_sizes(ws, log).get(size.lower())
    if offer is None:
        return None
    return CoreNeed(deployment_cores(size, offer.cores, instances), offer.family, has_reserve(size))


def quota_advice(ws: Workspace, message: str, section: ServingSection | None, log: Log) -> tuple[str, str]:
    """What is used up, and what helps; raises nothing of what the service answers."""
    message = re.sub(r"https?://\S+", "", message)
    other = next((advice for words, advice in _OTHERS.items() if re.search(words, message, re.IGNORECASE)), None)
    if other is not None:
        return other
    return (
        "There is not enough core quota." if section is None else _in_numbers(ws, section, log),
        f"Ask for quota of this VM family in this region ({_REQUEST}), delete deployments that nobody needs (`python "
        "-m phi_assets still-billing` lists those of the workspace), or set `serving.instance_type` to a size of "
        "another family.",
    )


def _in_numbers(ws: Workspace, section: ServingSection, log: Log) -> str:
    what = f"{section.instance_count} x {section.instance_type}"
    try:
        with patience(_PATIENCE_SECONDS):
            need = core_need(ws, section.instance_type, section.instance_count, log)
            region = ws.location
    except (AzureError, AzureMLError) as error:
        return f"There is not enough core quota for {what}; how much it needs cannot be read: {one_line(error)}."
    if need is None:
        return f"There is no core quota for {what}, a size that region {region} does not offer."
    reserve = (
        "with the 20 % of the instances that the service keeps in reserve for upgrades"
        if need.has_reserve
        else "without the 20 % reserve of other sizes, from which this one is exempt"
    )
    return f"{what} take {need.cores} cores of quota of {need.family} in {region}, {reserve}."
