"""The limits of Azure Resource Manager: a token bucket for each principal and kind of operation.

https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from phi_assets.emulator.wire.errors import ServiceError

_KINDS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
# Recorded: what is left after such a request has a name of its own.
_COUNTED_APART = {("PUT", "/onlineendpoints/{endpoint}/deployments/{name}"): "resource-requests"}
_ROUNDING = 1e-9


class Limit(BaseModel):
    """A bucket that holds `size` tokens and gets `per_second` new ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Limits(BaseModel):
    """Of each principal, by the kind of operation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reads: Limit = Limit(size=250, per_second=25)
    writes: Limit = Limit(size=200, per_second=10)
    deletes: Limit = Limit(size=200, per_second=10)

    def of(self, kind: str) -> Limit:
        """The limit of `reads`, `writes` or `deletes`."""
        return getattr(self, kind)


@dataclass
class _Bucket:
    limit: Limit
    tokens: float = field(init=False)
    _filled: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = self.limit.size

    def take(self) -> float:
        """Takes a token and returns 0; or takes none and returns the seconds until there is one."""
        now = time.monotonic()
        self.tokens = min(self.limit.size, self.tokens + (now - self._filled) * self.limit.per_second)
        self._filled = now
        if self.tokens < 1 - _ROUNDING:
            return (1 - self.tokens) / self.limit.per_second
        self.tokens -= 1
        return 0.0


class Throttling:
    """The buckets of all principals; off until it is switched on. For use in the server's event loop only."""

    def __init__(self) -> None:
        self._limits: Limits | None = None
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def switch(self, limits: Limits | None) -> None:
        """From now on these limits hold, and all buckets are full; None: no limits."""
        self._limits = limits
        self._buckets.clear()

    def take(self, principal: str, method: str, route: str = "") -> Mapping[str, str]:
        """Takes a token for the request; the headers that tell how many are left, all where there are no limits.

        Raises:
            ServiceError: 429 with a Retry-After, in whole seconds, after which there is a token. None was taken.
        """
        kind = _KINDS.get(method, "writes")
        counted = _COUNTED_APART.get((method, route), kind)
        header = f"x-ms-ratelimit-remaining-subscription-{counted}"
        if self._limits is None:
            return {header: str(int(Limits().of(kind).size))}
        bucket = self._buckets.setdefault((principal, kind), _Bucket(self._limits.of(kind)))
        missing = bucket.take()
        if not missing:
            return {header: str(int(bucket.tokens))}
        seconds = math.ceil(missing)
        raise ServiceError(
            429,
            "SubscriptionRequestsThrottled",
            f"Number of {kind} of principal '{principal}' in the subscription exceeded the limit. "
            f"Please try again after '{seconds}' seconds.",
            headers={"Retry-After": str(seconds), header: "0"},
        )
