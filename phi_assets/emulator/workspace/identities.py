"""Managed identities of clusters and endpoints, as the service keeps and shows them."""

import uuid
from typing import Any

from phi_assets.config.limits import IDENTITY_ID
from phi_assets.emulator.wire.errors import user_error
from phi_assets.emulator.wire.limits import require
from phi_assets.emulator.wire.shapes import OBJECT, TEXT, Fields

_KINDS = {kind.lower(): kind for kind in ("None", "SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned")}


IDENTITY: Fields = {"type": TEXT, "userAssignedIdentities": OBJECT}
"""`identity` of a request."""


def shown_identity(identity: Any, *, principal_id: str, tenant_id: str) -> dict[str, Any] | None:
    """The identity of a request with the ids that the service adds; None where it asks for none.

    Raises:
        ServiceError: 400 for another type, or a user-assigned identity without a resource id.
    """
    if not identity:
        return None
    kind = _KINDS.get(str(identity.get("type") or "").replace(" ", "").lower())
    assigned = identity.get("userAssignedIdentities") or {}
    if kind is None or ("UserAssigned" in kind.split(",")) != bool(assigned):
        raise user_error(
            f"'identity' is not valid: type {identity.get('type')!r} with {len(assigned)} user-assigned identities.",
            "BadArgument/ArgumentInvalid",
        )
    if kind == "None":
        return None
    for resource_id in assigned:
        require(IDENTITY_ID, "identity.userAssignedIdentities", resource_id)
    shown: dict[str, Any] = {"type": kind, "tenantId": tenant_id}
    if "SystemAssigned" in kind.split(","):
        shown["principalId"] = principal_id
    if assigned:
        shown["userAssignedIdentities"] = {resource_id: _ids(resource_id) for resource_id in assigned}
    return shown


def _ids(resource_id: str) -> dict[str, str]:
    return {name: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {resource_id.lower()}")) for name in _NAMES}


_NAMES = ("principalId", "clientId")
