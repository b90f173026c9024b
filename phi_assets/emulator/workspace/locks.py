"""Locks on the resource group: what they are called, and which requests they forbid.

https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
"""

from typing import Any

from phi_assets.emulator.wire.errors import conflict
from phi_assets.emulator.workspace.context import Emulator

_ARM = "/subscriptions/"
_VERBS = {"DELETE": "delete", "PUT": "write", "PATCH": "write", "POST": "write"}


def check_locks(emulator: Emulator, method: str, path: str) -> None:
    """Lets the request pass unless a lock forbids it. It does not name the lock, only where it lies.

    Raises:
        ServiceError: 409 `ScopeLocked`.
    """
    verb = _VERBS.get(method)
    if verb is None or not path.lower().startswith(_ARM):
        return
    if any(level == "ReadOnly" or verb == "delete" for level in emulator.locks.values()):
        raise conflict(
            f"The scope '{path}' cannot perform {verb} operation because following scope(s) are locked: "
            f"'{_group(emulator)}'. Please remove the lock and try again.",
            "ScopeLocked",
        )


def lock_documents(emulator: Emulator) -> list[dict[str, Any]]:
    """The locks of the resource group as Azure Resource Manager lists them."""
    return [
        {
            "id": f"{_group(emulator)}/providers/Microsoft.Authorization/locks/{name}",
            "name": name,
            "type": "Microsoft.Authorization/locks",
            "properties": {"level": level, "notes": None},
        }
        for name, level in emulator.locks.items()
    ]


def _group(emulator: Emulator) -> str:
    return f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}"
