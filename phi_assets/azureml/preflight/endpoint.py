"""Whether the endpoint's name can be had."""

from collections.abc import Mapping
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.preflight.asking import Unanswered, read_or_none
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.serving.leases import is_of_recipe, is_ours
from phi_assets.config.endpoint_names import endpoint_names, used_name
from phi_assets.config.limits import ENDPOINT_NAME
from phi_assets.config.recipe import Recipe, ServingSection

_MODES = {"key": "key", "amltoken": "aml_token", "aadtoken": "aad_token"}


def look_at_endpoint(ws: Workspace, recipe: Recipe, found: Findings) -> None:
    """Nobody else has an endpoint of this name in the workspace, and one of ours can be used as it is."""
    found.looked_at.append("endpoint")
    names = endpoint_names(recipe.serving, recipe.name, ws.path)
    if ENDPOINT_NAME.problem(names[0]) is not None:
        return  # told with the other names

    def read(name: str) -> dict[str, Any] | None:
        return read_or_none(ws, f"{ws.path}/onlineEndpoints/{name}")

    try:
        name = used_name(names, lambda old: is_of_recipe((read(old) or {}).get("tags"), recipe.name))
        endpoint = read(name)
    except Unanswered as error:
        found.warning("endpoint", "endpoint_unknown", f"Endpoint {names[0]}", f"cannot be read: {error}", "Run again.")
        return
    found.facts |= {"endpoint": name, "endpoint_exists": endpoint is not None}
    if endpoint is not None:
        _look_at_existing(f"Endpoint {name}", endpoint, recipe.serving, found)


def _look_at_existing(subject: str, endpoint: Mapping[str, Any], section: ServingSection, found: Findings) -> None:
    if not is_ours(endpoint.get("tags")):
        found.error(
            "endpoint",
            "endpoint_taken",
            subject,
            "exists and was not made by this project, which would take all of its traffic",
            "Give `serving.endpoint` another name, or accept it: `preflight.accept: [endpoint_taken]`.",
        )
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
