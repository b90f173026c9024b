"""Leases: until when an endpoint may exist, written into its tags."""

from collections.abc import Mapping
from datetime import UTC, datetime

from phi_assets.azureml.connection.provisioning import MANAGED_TAG

EXPIRES_TAG = "expires_at"
RECIPE_TAG = "phi-recipe"


def is_ours(tags: Mapping[str, str] | None) -> bool:
    """Whether this project made what carries the tags, and may therefore delete it."""
    return bool({MANAGED_TAG, RECIPE_TAG} & set(tags or {}))


def is_of_recipe(tags: Mapping[str, str] | None, recipe: str) -> bool:
    """Whether this project made what carries the tags, for the recipe of this name."""
    return is_ours(tags) and (tags or {}).get(RECIPE_TAG) == recipe


def lease_end(tags: Mapping[str, str] | None) -> datetime | None:
    """When the lease ends; None where there is none, or none that can be read."""
    try:
        ends = datetime.fromisoformat((tags or {}).get(EXPIRES_TAG) or "")
    except ValueError:
        return None
    return ends if ends.tzinfo else ends.replace(tzinfo=UTC)


def has_expired(tags: Mapping[str, str] | None, now: datetime | None) -> bool:
    """Whether what carries the tags is ours and its lease has ended, at the service's time `now`.

    Nothing has ended while that is not known.
    """
    ends = lease_end(tags)
    return is_ours(tags) and ends is not None and now is not None and ends <= now
