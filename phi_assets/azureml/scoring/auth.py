"""What opens an endpoint: its key, a token of its own, or a token of Microsoft Entra.

https://learn.microsoft.com/azure/machine-learning/concept-endpoints-online-auth
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ScoringFailed
from phi_assets.azureml.connection.retry import Log, one_line, ride_out

_MARGIN_SECONDS = 240.0
"""A token is replaced this long before it ends. It has to outlive its way to the service only, and azure-identity
gives a new one from five minutes before the end of the old."""


@dataclass(frozen=True)
class Secret:
    """A key or token, and until when to use it."""

    value: str = field(repr=False)
    good_for_seconds: float = float("inf")
    """From now on; a key has no end."""


class EndpointCredential:
    """Has a valid secret at any time: fetched when first needed, and again in time. In memory only; thread-safe."""

    def __init__(self, fetch: Callable[[], Secret]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._value = ""
        self._ends = float("-inf")

    def secret(self) -> str:
        """The key or token to send now.

        Raises:
            ScoringFailed: the endpoint gives none.
        """
        with self._lock:
            if time.monotonic() >= self._ends:
                self._renew()
            return self._value

    def is_renewed(self, refused: str) -> bool:
        """Whether there is another secret than the one that the endpoint has refused: by now, or when fetched anew.

        Raises:
            ScoringFailed: the endpoint gives none any more.
        """
        with self._lock:
            if self._value == refused:
                self._renew()
            return self._value != refused

    def _renew(self) -> None:
        secret = self._fetch()
        self._value, self._ends = secret.value, time.monotonic() + secret.good_for_seconds


def endpoint_credential(ws: Workspace, endpoint: str, log: Log) -> EndpointCredential:
    """The credential of an endpoint, for whichever authentication mode it has. Nothing is asked yet."""
    return EndpointCredential(lambda: _fetch(ws, endpoint, log))


def _fetch(ws: Workspace, endpoint: str, log: Log) -> Secret:
    try:
        # The SDK looks the mode up and gives two keys, a token of the endpoint, or one of Microsoft Entra.
        found: Any = ride_out(lambda: ws.ml.online_endpoints.get_keys(endpoint), f"credential of {endpoint}", log)
    except AzureError as error:
        raise ScoringFailed(
            f"Endpoint {endpoint} gives no credential: {one_line(error)}. It has to exist, and this identity needs a "
            "role with the actions onlineEndpoints/listKeys and onlineEndpoints/token on it."
        ) from error
    key, token = getattr(found, "primary_key", None), getattr(found, "access_token", None)
    if key:
        return Secret(str(key))
    if token:
        return Secret(str(token), _seconds_left(found, ws.clock.now()))
    raise ScoringFailed(f"Endpoint {endpoint} gives neither key nor token. Look at its authentication in Studio.")


def _seconds_left(token: Any, now: datetime | None) -> float:
    """Until the token has to be replaced: when the service says so, and in any case before it ends, by its clock."""
    ends = float(token.expiry_time_utc) - _MARGIN_SECONDS
    until = min(float(getattr(token, "refresh_after_time_utc", 0) or ends), ends)
    return max(0.0, until - (time.time() if now is None else now.timestamp()))
