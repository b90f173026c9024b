"""Preflight: everything that can be known to go wrong, before anything is asked for that costs money.

It reads, and writes nothing. All that can be looked at is looked at, so one look shows all that is wrong.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from azure.core.exceptions import AzureError

from phi_assets.azureml.billing.prices import PriceList
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import AzureMLError
from phi_assets.azureml.connection.retry import one_line, patience
from phi_assets.azureml.preflight.access import look_at_access
from phi_assets.azureml.preflight.budget import look_at_budget
from phi_assets.azureml.preflight.data import judge_data, judge_lengths, look_at_place
from phi_assets.azureml.preflight.endpoint import look_at_endpoint
from phi_assets.azureml.preflight.estimate import Training
from phi_assets.azureml.preflight.findings import Finding, Findings, Group
from phi_assets.azureml.preflight.machines import look_at_machines
from phi_assets.azureml.preflight.model import current_date, look_at_model
from phi_assets.azureml.preflight.names import look_at_names
from phi_assets.azureml.preflight.networks import look_at_networks
from phi_assets.azureml.preflight.parameters import NODES_PARAMETER, look_at_parameters
from phi_assets.azureml.preflight.quota import look_at_quota
from phi_assets.azureml.preflight.registered import look_at_registered_model
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.samples.first_look import DataLook
from phi_assets.fingerprint import fingerprint

T = TypeVar("T")

_PATIENCE_SECONDS = 4.0
"""How long a service that fails is asked again: preflight is for answers now."""


@dataclass(frozen=True)
class Preflight:
    """What a look ahead has found."""

    findings: tuple[Finding, ...]
    looked_at: tuple[Group, ...]
    facts: Mapping[str, Any]
    """Identity, tenant, region, model, dates, cores, estimates: what was seen, under stable keys."""
    seconds: float

    @property
    def errors(self) -> Sequence[Finding]:
        """What has to be put right first."""
        return [found for found in self.findings if found.level == "error"]

    @property
    def warnings(self) -> Sequence[Finding]:
        """What is good to know, and stops nothing."""
        return [found for found in self.findings if found.level == "warning"]

    def of(self, group: Group) -> Sequence[Finding]:
        """The findings of a group, errors first."""
        return sorted((found for found in self.findings if found.group == group), key=lambda found: found.level)

    @property
    def in_words(self) -> str:
        """Every finding on a line of its own, errors first, after a headline."""
        if not self.findings:
            return "Nothing stands in the way."
        count = len(self.errors)
        head = f"{count} thing{'' if count == 1 else 's'} to put right first; nothing has been created or submitted:"
        lines = [f"- {found.in_words}" for found in self.errors]
        if self.warnings:
            lines += ["Good to know:", *(f"- {found.in_words}" for found in self.warnings)]
        return "\n".join([head if count else "Nothing stands in the way.", *lines])

    @property
    def identity(self) -> str:
        """Tells the workspace that was looked at from any other; equal however much else is found in it."""
        return fingerprint({key: self.facts.get(key) for key in ("workspace", "region")})[:12]


def run_preflight(
    ws: Workspace,
    recipe: Recipe,
    *,
    credential: str,
    prices: PriceList | None,
    training: Training | None,
    data: DataLook | None = None,
    root: str | None = None,
    today: date | None = None,
) -> Preflight:
    """Look at everything that the recipe needs; some ten reads.

    `credential` is the mode of the settings, `data` what a look at its first rows has found, and `training` how much
    there is to train on by that: preflight waits for no more of it. `root` is where data is kept, a folder or a URL.
    """
    started = time.monotonic()
    found = Findings(accepted=frozenset(recipe.preflight.accept))
    judge_data(data, found)
    with patience(_PATIENCE_SECONDS):
        region = look_at_access(ws, credential, found)
        if region is not None and root is not None:
            look_at_place(ws, recipe, root, found)
        if region is not None:
            _look_at_the_rest(ws, region, recipe, prices, training, data, today or current_date(), found)
    return Preflight(tuple(found.all), tuple(found.looked_at), found.facts, time.monotonic() - started)


def _look_at_the_rest(
    ws: Workspace,
    region: str,
    recipe: Recipe,
    prices: PriceList | None,
    training: Training | None,
    data: DataLook | None,
    today: date,
    found: Findings,
) -> None:
    look_at_names(recipe, found)
    model = _attempt("model", lambda: look_at_model(ws, recipe.model, today, found), found)
    look_at_registered_model(ws, recipe, found)
    effective = _attempt("parameters", lambda: look_at_parameters(ws, recipe, model, found), found)
    parameters: Mapping[str, Any] = effective.complete if effective is not None else {}
    judge_lengths(data, recipe, parameters, found)
    offers, clusters = look_at_machines(ws, recipe, model, prices, found)
    look_at_networks(ws, recipe, clusters, found)
    nodes = int(parameters.get(NODES_PARAMETER, 1))
    look_at_quota(ws, region, recipe, offers, clusters, nodes, found)
    look_at_endpoint(ws, recipe, found)
    offer = offers.get(recipe.compute.size.lower())
    gpus = offer.gpus if offer is not None else 0
    look_at_budget(
        recipe,
        parameters,
        nodes=nodes,
        gpus=gpus,
        training=training,
        prices=prices,
        clusters=clusters,
        owner=ws.owner(recipe.name),
        found=found,
    )


def _attempt(group: Group, look: Callable[[], T], found: Findings) -> T | None:
    """What `look` returns; a registry that refuses or fails is a finding like any other."""
    try:
        return look()
    except (AzureError, AzureMLError) as error:
        next_step = "Have this identity given access to the registry, or run again later."
        found.error(group, "registry_unanswered", "The registry", f"does not answer: {one_line(error)}", next_step)
        return None
