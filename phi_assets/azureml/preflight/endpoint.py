"""Whether the endpoint's name can be had."""

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.preflight.asking import Unanswered, read_or_none
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.serving.endpoints import is_legal_name
from phi_assets.azureml.serving.leases import is_ours
from phi_assets.config.recipe import ServingSection

_MODES = {"key": "key", "amltoken": "aml_token", "aadtoken": "aad_token"}


def look_at_endpoint(ws: Workspace, section: ServingSection, found: Findings) -> None:
    """Nobody else has an endpoint of this name in the workspace, and one of ours can be used as it is."""
    found.looked_at.append("endpoint")
    subject = f"Endpoint {section.endpoint}"
    if not is_legal_name(section.endpoint):
        found.error(
            "endpoint",
            "endpoint_name",
            f"{section.endpoint!r}",
            "cannot be an endpoint's name",
            "Set `serving.endpoint` to 3 to 32 letters, digits and single dashes, a letter first.",
        )
        return
    try:
        endpoint = read_or_none(ws, f"{ws.path}/onlineEndpoints/{section.endpoint}")
    except Unanswered as error:
        found.warning("endpoint", "endpoint_unknown", subject, f"cannot be read: {error}", "Run again.")
        return
    found.facts["endpoint_exists"] = endpoint is not None
    if endpoint is None:
        return
    if not is_ours(endpoint.get("tags")):
        found.error(
            "endpoint",
            "endpoint_taken",
            subject,
            "exists and was not made by this project, which would take all of its traffic",
            "Give `serving.endpoint` another name, or accept it: `preflight.accept: [endpoint_taken]`.",
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
