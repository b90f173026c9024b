"""From a credential mode to a credential of azure-identity, which can be made anew, and what to do where it fails."""

import os
import time
from collections.abc import Callable
from typing import Any

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential, TokenRequestOptions

from phi_assets.azureml.connection.clouds import CLOUDS
from phi_assets.config.settings import CREDENTIAL_TIMEOUT_SECONDS, Cloud, CredentialMode

_RENEWAL_SECONDS = 30.0
"""How soon after one new credential another is made."""

_ADVICE = {
    "default": "sign in with `az login`, or name the one way that is meant with PHI_CREDENTIAL",
    "cli": "sign in with `az login`, in the tenant of the workspace (`--tenant`)",
    "environment": "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH",
    "managed_identity": "this machine has no managed identity, or another one: set AZURE_CLIENT_ID to the one meant",
    "workload_identity": "the pod needs the label azure.workload.identity/use and a service account with a client id",
    "interactive": "a browser has to open on this machine; where there is none, use PHI_CREDENTIAL=cli",
}


def sign_in_advice(mode: str) -> str:
    """What a person does where the mode gives no token: a clause without a full stop."""
    return _ADVICE.get(mode, _ADVICE["default"])


class SignIn:
    """A credential of a mode; `renew` makes it anew, so that no token that it has kept is used again."""

    def __init__(
        self,
        make: Callable[[], TokenCredential],
        *,
        mode: str = "default",
        tenant_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self.mode = mode
        self.timeout_seconds = timeout_seconds
        """How long the mode's helper program may take for a token; None where it has none."""
        self._make = make
        self._inner: Any = make()
        self._renewed = float("-inf")
        self._tenant: dict[str, str] = {"tenant_id": tenant_id} if tenant_id else {}

    @property
    def advice(self) -> str:
        """What a person does where it gives no token: a clause without a full stop."""
        return sign_in_advice(self.mode)

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token; see azure-identity."""
        return self._inner.get_token(*scopes, **{**self._tenant, **options})

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """A token; see azure-identity."""
        if not hasattr(self._inner, "get_token_info"):
            token = self._inner.get_token(*scopes)
            return AccessTokenInfo(token.token, token.expires_on)
        wanted: Any = {**self._tenant, **(options or {})}
        return self._inner.get_token_info(*scopes, options=wanted or None)

    def renew(self) -> None:
        """The service has refused a token: the next one is no kept one. A browser is not opened for it again."""
        if self.mode != "interactive" and time.monotonic() - self._renewed > _RENEWAL_SECONDS:
            self._inner, self._renewed = self._make(), time.monotonic()


def credential(
    mode: CredentialMode,
    *,
    cloud: Cloud = "AzureCloud",
    tenant_id: str | None = None,
    client_id: str | None = None,
    timeout_seconds: int = CREDENTIAL_TIMEOUT_SECONDS,
) -> SignIn:
    """The credential of a mode, and of no other. A browser opens for `interactive` only.

    Each gets the tenant, and each that runs a program such as `az` gets `timeout_seconds`. Secrets, certificate and
    token file are read from the environment by azure-identity, and so is the tenant of `environment`. Which cloud the
    Azure CLI and a managed identity belong to is decided where they are set up; a managed identity has one tenant only.
    """
    from azure import identity

    authority = _authority(cloud)
    tenant: dict[str, Any] = {"tenant_id": tenant_id} if tenant_id else {}
    client: dict[str, Any] = {"client_id": client_id} if client_id else {}
    helper: dict[str, Any] = {"process_timeout": timeout_seconds}
    makers: dict[CredentialMode, Callable[[], TokenCredential]] = {
        "default": lambda: identity.DefaultAzureCredential(
            exclude_interactive_browser_credential=True, **authority, **helper
        ),
        "cli": lambda: identity.AzureCliCredential(**tenant, **helper),
        "environment": lambda: identity.EnvironmentCredential(**authority),
        "managed_identity": lambda: identity.ManagedIdentityCredential(**client),
        "workload_identity": lambda: identity.WorkloadIdentityCredential(**tenant, **client, **authority),
        "interactive": lambda: identity.InteractiveBrowserCredential(**tenant, **authority),
    }
    return SignIn(
        makers[mode],
        mode=mode,
        # It takes no tenant when it is made, only with each request.
        tenant_id=tenant_id if mode == "default" else None,
        timeout_seconds=timeout_seconds if mode in ("default", "cli") else None,
    )


def _authority(cloud: Cloud) -> dict[str, Any]:
    # Given by hand (or by Kubernetes), it is more precise than the cloud's name.
    given = os.environ.get("AZURE_AUTHORITY_HOST")
    if not given:
        return {"authority": CLOUDS[cloud].authority}
    host = given.removeprefix("https://").strip("/")
    # The public cloud would be asked about an authority that nobody knows; a private one is often all there is.
    known = host in {addresses.authority for addresses in CLOUDS.values()}
    return {"authority": host} if known else {"authority": host, "disable_instance_discovery": True}
