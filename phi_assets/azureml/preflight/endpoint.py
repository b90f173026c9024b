"""Whether the endpoint's name can be had, and whose the deployments behind it are."""

from collections.abc import Mapping, Sequence
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.ownership import Owner, belonging, maker_of
from phi_assets.azureml.preflight.asking import Unanswered, read_all, read_or_none
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.serving.endpoints import taken_in_words
from phi_assets.config.endpoint_names import endpoint_names, used_name
from phi_assets.config.limits import ENDPOINT_NAME
from phi_assets.config.recipe import Recipe, ServingSection

_MODES = {"key": "key", "amltoken": "aml_token", "aadtoken": "aad_token"}


def look_at_endpoint(ws: Workspace, recipe: Recipe, found: Findings) -> None:
    """Nobody else has an endpoint of this name in the workspace, and one of this recipe's can be used as it is."""
    found.looked_at.append("endpoint")
    owner = ws.owner(recipe.name)
    names = endpoint_names(recipe.serving, recipe.name, ws.path)
    if ENDPOINT_NAME.problem(names[0]) is not None:
        return  # told with the other names

    def read(name: str) -> dict[str, Any] | None:
        return read_or_none(ws, f"{ws.path}/onlineEndpoints/{name}")

    try:
        name = used_name(names, lambda old: owner.is_named_by((read(old) or {}).get("tags")))
        endpoint = read(name)
        path = f"{ws.path}/onlineEndpoints/{name}/deployments"
        deployments = [] if endpoint is None else list(read_all(ws, path))
    except Unanswered as error:
        found.warning("endpoint", "endpoint_unknown", f"Endpoint {names[0]}", f"cannot be read: {error}", "Run again.")
        return
    found.facts |= {"endpoint": name, "endpoint_exists": endpoint is not None}
    if endpoint is not None:
        _look_at_existing(f"Endpoint {name}", endpoint, recipe.serving, owner, found)
        if owner.owns(endpoint.get("tags")):
            _look_at_deployments(name, endpoint, deployments, owner, found)


def _look_at_deployments(
    endpoint_name: str,
    endpoint: Mapping[str, Any],
    deployments: Sequence[Mapping[str, Any]],
    owner: Owner,
    found: Findings,
) -> None:
    """Nothing is behind the endpoint but what is this recipe's."""
    traffic = {
        str(key).lower(): int(share) for key, share in ((endpoint.get("properties") or {}).get("traffic") or {}).items()
    }
    for deployment in deployments:
        name, tags = str(deployment.get("name")), belonging(deployment.get("tags"), endpoint.get("tags"))
        if owner.owns(tags):
            continue
        subject, made = f"Deployment {name} of endpoint {endpoint_name}", f"was made by {maker_of(tags)}"
        if share := traffic.get(name.lower(), 0):
            found.error(
                "endpoint",
                "deployment_taken",
                subject,
                f"{made} and has {share} % of the traffic, which the rollout would take from it",
                "Give `serving.endpoint` another name, or accept it: `preflight.accept: [deployment_taken]`.",
            )
        else:
            next_step = "It is left alone: delete it if nobody needs it."
            found.warning("endpoint", "deployment_left", subject, f"{made}, has no traffic, and is billing", next_step)


def _look_at_existing(
    subject: str, endpoint: Mapping[str, Any], section: ServingSection, owner: Owner, found: Findings
) -> None:
    if (taken := taken_in_words(endpoint.get("tags"), owner)) is not None:
        code, cause, next_step = taken
        found.error("endpoint", code, subject, cause, next_step)
    identity = endpoint.get("identity") or {}
    has = ", ".join(identity.get("userAssignedIdentities") or {}) or "system"
    if section.identity is not None and section.identity.lower() != has.lower():
        found.error(
            "endpoint",
            "endpoint_identity",
            subject,
            f"exists with identity {has}, not {section.identity}, which cannot be changed",
            f"Set `serving.identity: {has}`, delete the endpoint, or give it another name.",
        )
    mode = str((endpoint.get("properties") or {}).get("authMode") or "key").lower().replace("_", "")
    if _MODES.get(mode, mode) != section.auth_mode:
        found.error(
            "endpoint",
            "endpoint_auth_mode",
            subject,
            f"exists with authentication {_MODES.get(mode, mode)}, not {section.auth_mode}, which cannot be changed",
            f"Set `serving.auth_mode: {_MODES.get(mode, mode)}`, delete the endpoint, or give it another name.",
        )
