"""Pieces that the documents of all ARM resources have in common."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from phi_assets.config.limits import ASSET_NAME, ASSET_VERSION
from phi_assets.emulator.wire.errors import user_error
from phi_assets.emulator.wire.limits import require
from phi_assets.emulator.workspace.context import Emulator

PROVIDER = "Microsoft.MachineLearningServices"
AUTHOR = "phi_assets emulator"


def system_data(created: str, modified: str | None = None, *, with_author_of_change: bool = True) -> dict[str, Any]:
    """`systemData` of a resource; without `modified` only what the service sends about the creation."""
    data = {"createdAt": created, "createdBy": AUTHOR, "createdByType": "Application"}
    if modified is not None:
        data["lastModifiedAt"] = modified
        if with_author_of_change:
            data |= {"lastModifiedBy": AUTHOR, "lastModifiedByType": "Application"}
    return data


def now(emulator: Emulator) -> str:
    """The time stamp format of ARM documents."""
    return timestamp(emulator.clock.now())


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and `+00:00`."""
    return moment.isoformat(timespec="microseconds")


def check_asset_name(name: str, version: str | None = None) -> None:
    """Raises ServiceError 400 for a name or version that the service does not accept."""
    require(ASSET_NAME, "name", name)
    if version is not None:
        require(ASSET_VERSION, "version", version)


def properties_of(body: Any) -> dict[str, Any]:
    """`properties` of a request body. Raises ServiceError 400 if the body is not such an object."""
    if not isinstance(body, dict) or not isinstance(body.get("properties"), dict):
        raise user_error("The request body must be a JSON object with an object 'properties'.", "BadArgument")
    return body["properties"]


def as_text(value: Any) -> Any:
    """The description of a component as the service keeps it: scalars are text, and what is null is left out."""
    if isinstance(value, Mapping):
        return {str(key): as_text(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [as_text(inner) for inner in value]
    return value if isinstance(value, str) else str(value)
