"""Pieces that the documents of all ARM resources have in common."""

import re
from datetime import datetime
from typing import Any

from phi_assets.emulator.wire.errors import user_error
from phi_assets.emulator.workspace.context import Emulator

PROVIDER = "Microsoft.MachineLearningServices"
AUTHOR = "phi_assets emulator"

_ASSET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


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


def check_asset_name(title: str, name: str) -> None:
    """Raises ServiceError 400 for a name or version that the service does not accept."""
    if not _ASSET_NAME.fullmatch(name):
        raise user_error(
            f"{title} '{name}' is not valid: it must start with a letter or digit and have at most 255 letters, "
            "digits, dots, dashes and underscores.",
            "BadArgument/ArgumentInvalid",
        )


def properties_of(body: Any) -> dict[str, Any]:
    """`properties` of a request body. Raises ServiceError 400 if the body is not such an object."""
    if not isinstance(body, dict) or not isinstance(body.get("properties"), dict):
        raise user_error("The request body must be a JSON object with an object 'properties'.", "BadArgument")
    return body["properties"]
