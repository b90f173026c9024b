"""Who asks, and whether the workspace lets that identity in."""

import base64
import json
import threading
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import one_line
from phi_assets.azureml.connection.sign_in import sign_in_advice
from phi_assets.azureml.preflight.asking import PROVIDER, Unanswered, read, read_or_none
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.preflight.locks import look_at_locks

CREDENTIAL_PATIENCE_SECONDS = 5.0
INTERACTIVE_PATIENCE_SECONDS = 120.0
"""Somebody has to find the browser's window and sign in."""

_PROVIDERS_API_VERSION = "2021-04-01"

_WHERE = {
    "SubscriptionNotFound": "AZURE_SUBSCRIPTION_ID",
    "InvalidSubscriptionId": "AZURE_SUBSCRIPTION_ID",
    "ResourceGroupNotFound": "AZURE_RESOURCE_GROUP",
}


def look_at_access(ws: Workspace, mode: str, found: Findings) -> str | None:
    """The region of the workspace; None where it cannot be reached, so that nothing else can be looked at."""
    found.looked_at.append("access")
    claims = _identity(ws, mode, found)
    if claims is None:
        return None
    identity = claims.get("upn") or claims.get("unique_name") or claims.get("appid") or claims.get("oid")
    found.facts |= {
        "identity": str(identity or "unknown"),
        "tenant": str(claims.get("tid") or "unknown"),
        "credential": mode,
    }
    workspace = _workspace(ws, found)
    if workspace is None:
        return None
    region = str(workspace.get("location"))
    found.facts |= {"workspace": ws.path, "region": region}
    state = str((workspace.get("properties") or {}).get("provisioningState") or "Succeeded")
    if state != "Succeeded":
        found.error(
            "access",
            "workspace_state",
            f"Workspace {ws.name}",
            f"is in state {state}",
            "Wait until it is Succeeded, or repair it in the Azure portal.",
        )
    _look_at_kind(ws, str(workspace.get("kind") or "Default"), found)
    look_at_locks(ws, found)
    _look_at_provider(ws, found)
    return region


def _identity(ws: Workspace, mode: str, found: Findings) -> dict[str, Any] | None:
    """What the credential's token says of its owner; None, and a finding, where there is no token in time.

    Only the mode that was asked for is tried. A credential that takes longer is left to its thread: none of them can be
    interrupted.
    """
    outcome: list[str | Exception] = []

    def ask() -> None:
        try:
            outcome.append(ws.bearer())
        except Exception as error:
            outcome.append(error)

    asking = threading.Thread(target=ask, daemon=True, name="preflight credential")
    asking.start()
    patience = INTERACTIVE_PATIENCE_SECONDS if mode == "interactive" else CREDENTIAL_PATIENCE_SECONDS
    # A helper program may take as long as the settings say, and says itself that it took too long.
    patience += ws.credential.timeout_seconds or 0
    asking.join(patience)
    answer = outcome[0] if outcome else TimeoutError(f"no token after {patience:g} s")
    if isinstance(answer, str):
        return _claims(answer)
    found.error(
        "access",
        "credential",
        f"Credential mode {mode!r}",
        f"gives no token: {one_line(answer)}",
        f"To go on, {sign_in_advice(mode)}.",
    )
    return None


def _claims(token: str) -> dict[str, Any]:
    """What the token says, for people to read; whether it is true is for the service to say."""
    try:
        payload = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}


def _workspace(ws: Workspace, found: Findings) -> dict[str, Any] | None:
    try:
        return read(ws, ws.path)
    except Unanswered as error:
        code, cause, next_step = _why(ws, error, found.facts)
        found.error("access", code, f"Workspace {ws.name}", cause, next_step)
        return None


def _why(ws: Workspace, error: Unanswered, facts: dict[str, Any]) -> tuple[str, str, str]:
    """Code, cause and next step of a workspace that does not answer."""
    who = f"identity {facts['identity']} of tenant {facts['tenant']}"
    if error.status == 0:
        return (
            "unreachable",
            f"cannot be reached at {ws.resource_manager}: {error}",
            "Check the network, the proxy (HTTPS_PROXY) and the cloud that the settings name.",
        )
    if error.status == 401:
        return (
            "credential_refused",
            f"does not accept the token of {who}: {error}",
            "Sign in to the tenant that the subscription belongs to.",
        )
    if error.status == 403:
        return (
            "forbidden",
            f"is closed to {who}: {error}",
            "Have the role `AzureML Data Scientist` assigned on the workspace, and `AzureML Compute Operator` where "
            "a cluster is to be created.",
        )
    if error.status == 404 and error.code not in _WHERE and _is_registry(ws):
        return (
            "workspace_kind",
            "is a registry, not a workspace",
            "Registries hold models and components to share; name a workspace with AZURE_ML_WORKSPACE, and the "
            "registry in the recipe (`model.registry`, `component.registry`).",
        )
    if error.status == 404:
        variable = _WHERE.get(error.code, "AZURE_ML_WORKSPACE")
        return (
            "workspace_not_found",
            f"is not in resource group {ws.resource_group} of subscription {ws.subscription_id}: {error}",
            f"Check {variable}; `az ml workspace list` shows what this identity can see.",
        )
    return "workspace_unanswered", f"does not answer: {error}", "Run again later."


def _look_at_kind(ws: Workspace, kind: str, found: Findings) -> None:
    """Hubs, projects and feature stores are workspaces to Azure Resource Manager, and run no such jobs of their own.

    https://learn.microsoft.com/azure/machine-learning/concept-hub-workspace
    """
    if kind.lower() != "default":
        found.error(
            "access",
            "workspace_kind",
            f"Workspace {ws.name}",
            f"is a {kind}, not a workspace of Azure Machine Learning's own kind (Default)",
            "Name a workspace of kind Default with AZURE_ML_WORKSPACE; `az ml workspace list` shows them. If this one "
            "has clusters and endpoints of its own, accept it with `preflight.accept: [workspace_kind]`.",
        )


def _is_registry(ws: Workspace) -> bool:
    path = f"/subscriptions/{ws.subscription_id}/resourceGroups/{ws.resource_group}/providers/{PROVIDER}/registries"
    try:
        return read_or_none(ws, f"{path}/{ws.name}") is not None
    except Unanswered:
        # A guess that may be wrong: what is known is that there is no such workspace.
        return False


def _look_at_provider(ws: Workspace, found: Findings) -> None:
    register = f"`az provider register --namespace {PROVIDER} --subscription {ws.subscription_id}` does it."
    try:
        state = str(
            read(ws, f"/subscriptions/{ws.subscription_id}/providers/{PROVIDER}", _PROVIDERS_API_VERSION).get(
                "registrationState"
            )
        )
    except Unanswered as error:
        found.warning(
            "access",
            "provider_unknown",
            f"Resource provider {PROVIDER}",
            f"does not show whether it is registered: {error}",
            f"It needs to be; {register}",
        )
        return
    if state != "Registered":
        found.error(
            "access",
            "provider_not_registered",
            f"Resource provider {PROVIDER}",
            f"is {state} in subscription {ws.subscription_id}, not Registered",
            register,
        )
