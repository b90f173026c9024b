"""Leases: until when an endpoint may exist, written into its tags."""

from datetime import UTC, datetime, timedelta

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.ownership import Owner, Tags

EXPIRES_TAG = "expires_at"


def new_lease(ws: Workspace, hours: float) -> str:
    """The end of a lease that begins now."""
    # Where the service's answers have no date, a lease of this machine's making has to do.
    now = ws.clock.now() or datetime.now(UTC)
    return (now + timedelta(hours=hours)).isoformat(timespec="seconds")


def lease_end(tags: Tags) -> datetime | None:
    """When the lease ends; None where there is none, or none that can be read."""
    try:
        ends = datetime.fromisoformat((tags or {}).get(EXPIRES_TAG) or "")
    except ValueError:
        return None
    return ends if ends.tzinfo else ends.replace(tzinfo=UTC)


def has_expired(tags: Tags, now: datetime | None, owner: Owner) -> bool:
    """Whether what carries the tags is the owner's and its lease has ended, at the service's time `now`.

    Nothing has ended while that is not known.
    """
    ends = lease_end(tags)
    return owner.owns(tags) and ends is not None and now is not None and ends <= now
