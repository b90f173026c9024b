"""Managed identities, as recipes name them and as the SDK has them."""

from typing import Any

from phi_assets.azureml.connection.client import sdk

NONE, SYSTEM = "none", "system"


def identity_entity(identity: str | None) -> Any | None:
    """What the SDK sends for `none`, `system`, or the resource id of a user-assigned identity."""
    if identity in (None, NONE):
        return None
    entities = sdk().entities
    if identity == SYSTEM:
        return entities.IdentityConfiguration(type="system_assigned")
    assigned = [entities.ManagedIdentityConfiguration(resource_id=identity)]
    return entities.IdentityConfiguration(type="user_assigned", user_assigned_identities=assigned)


def identity_of(resource: Any) -> str:
    """What a cluster or an endpoint has, in the recipe's words; several are separated by commas."""
    identity = getattr(resource, "identity", None)
    kind = str(getattr(identity, "type", None) or "").lower()
    assigned = getattr(identity, "user_assigned_identities", None) or []
    ids = sorted(str(each.resource_id) for each in assigned)
    return ", ".join(([SYSTEM] if "system" in kind else []) + ids) or NONE


def is_identity(resource: Any, wanted: str | None) -> bool:
    """Whether it has just the wanted identity; None is any. The service ignores the case of resource ids."""
    return wanted is None or identity_of(resource).lower() == wanted.lower()
