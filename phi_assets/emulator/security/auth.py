"""Who may ask for what: bearer tokens and managed identity, all signed by this emulator."""

import hmac
import secrets
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
from starlette.requests import Request

from phi_assets.config.private_files import write_secret
from phi_assets.emulator.small_files import (
    CONTROL_KEY_FILE,
    IDENTITY_KEY_FILE,
    SECRET_BYTES,
    SIGNING_KEY_FILE,
    check_secret,
)
from phi_assets.emulator.wire.errors import ServiceError

STORAGE_AUDIENCE = "https://storage.azure.com"
ML_AUDIENCE = "https://ml.azure.com"
PORTAL = "https://portal.azure.emulator/"
ENVIRONMENT_ML_AUDIENCE = "https://ml.azure.emulator"
"""What the SDK derives from `PORTAL` of the metadata document: `https://ml.azure.` + its third piece between dots."""
PUBLIC_MANAGEMENT_AUDIENCE = "https://management.azure.com"
"""Programs that try out a credential first, as Azure's samples do, ask for this one. It opens registries only."""

_TOKEN_LIFETIME_SECONDS = 24 * 3600
_KEPT_TOKENS = 256


class Auth:
    """Issues and checks credentials; the secret that signs them lies in `directory`, readable by its owner only.

    The secret outlives the process, so tokens stay good over a restart on the same port.
    """

    def __init__(self, directory: Path, base_url: str):
        self.base_url = base_url.rstrip("/")
        self._secret = _kept_secret(directory / SIGNING_KEY_FILE)
        self.identity_header = _kept_secret(directory / IDENTITY_KEY_FILE).hex()
        self.control_token = _kept_secret(directory / CONTROL_KEY_FILE, in_hex=True).decode()
        self.tenant_id = "00000000-0000-4000-8000-0000000000aa"
        self.object_id = "00000000-0000-4000-8000-0000000000bb"
        self.client_id = "00000000-0000-4000-8000-0000000000cc"
        # A client sends the same token with each request.
        self._decoded = lru_cache(_KEPT_TOKENS)(self._decode)

    @property
    def arm_audiences(self) -> list[str]:
        """What `aud` a token for the management plane, run history and MLflow may have."""
        return [self.base_url, self.base_url + "/"]

    @property
    def ml_audiences(self) -> list[str]:
        """What `aud` an `x-azureml-token` or an AAD token for scoring may have."""
        return [*self.arm_audiences, ML_AUDIENCE, ENVIRONMENT_ML_AUDIENCE]

    @property
    def registry_audiences(self) -> list[str]:
        """What `aud` a token for registries may have.

        Before it deploys a registry's model the SDK looks that up with clients that are told of no cloud, so that they
        ask for tokens of the public one.
        """
        return [*self.ml_audiences, PUBLIC_MANAGEMENT_AUDIENCE]

    def knows_audience(self, audience: str) -> bool:
        """Whether there is a resource of this name to issue tokens for."""
        known = [*self.ml_audiences, STORAGE_AUDIENCE, PUBLIC_MANAGEMENT_AUDIENCE]
        return audience.rstrip("/") in {entry.rstrip("/") for entry in known}

    def issue(
        self, audience: str, lifetime_seconds: float = _TOKEN_LIFETIME_SECONDS, object_id: str | None = None
    ) -> str:
        """A signed JWT for `audience`, as the SDK wants it: with `aud`, `tid`, `oid`, `appid`, `iat` and `exp`.

        `object_id` is that of the principal who asks: this emulator's managed identity unless given.
        """
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"{self.base_url}/aad/{self.tenant_id}/",
            "iat": now,
            "nbf": now - 60,
            "exp": now + int(lifetime_seconds),
            "tid": self.tenant_id,
            "oid": object_id or self.object_id,
            "appid": self.client_id,
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def claims(self, token: str, audiences: list[str]) -> dict[str, Any]:
        """The claims of a token of ours for one of `audiences`.

        Raises:
            ServiceError: 401 `ExpiredAuthenticationToken`, `InvalidAuthenticationTokenAudience` or
                `InvalidAuthenticationToken`, the codes of Azure Resource Manager.
        """
        try:
            claims = self._decoded(token, tuple(audiences))
            if claims["exp"] <= time.time():
                raise jwt.ExpiredSignatureError
            return dict(claims)
        except jwt.ExpiredSignatureError as error:
            raise _unauthorized("ExpiredAuthenticationToken", "The access token expired: get a new one.") from error
        except jwt.InvalidAudienceError as error:
            message = f"The access token is for another audience; allowed: {', '.join(audiences)}."
            raise _unauthorized("InvalidAuthenticationTokenAudience", message) from error
        except jwt.InvalidTokenError as error:
            raise _unauthorized("InvalidAuthenticationToken", "The access token is invalid.") from error

    def _decode(self, token: str, audiences: tuple[str, ...]) -> dict[str, Any]:
        return jwt.decode(
            token, self._secret, algorithms=["HS256"], audience=audiences, options={"require": ["aud", "exp"]}
        )

    def require_bearer(self, request: Request, audiences: list[str] | None = None) -> dict[str, Any]:
        """The claims of the request's bearer token, which must be for the management plane unless `audiences` is given.

        Raises:
            ServiceError: 401 if the token is missing, forged, expired or for another audience.
        """
        return self.claims(_bearer_token(request), self.arm_audiences if audiences is None else audiences)

    def require_control(self, request: Request) -> None:
        """Lets the request pass if it carries the token of the control plane, which is good for nothing else.

        Raises:
            ServiceError: 401 if the token is missing or another one.
        """
        if not hmac.compare_digest(_bearer_token(request).encode(), self.control_token.encode()):
            message = f"The control plane wants the token in {CONTROL_KEY_FILE} of the emulator's directory."
            raise _unauthorized("InvalidAuthenticationToken", message)


def _bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing or not a bearer token.",
        )
    return token.strip()


def damaged_key(path: Path, error: ValueError) -> ServiceError:
    """Why the emulator does not start: with such a key, whoever guesses it would get in."""
    cure = "Delete it: the next start makes a new one, and what the old one has signed is refused."
    message = f"{path} is damaged: {error}. {cure}"
    return ServiceError(500, "StateDamaged", message)


def _kept_secret(path: Path, *, in_hex: bool = False) -> bytes:
    if path.is_file():
        content = path.read_bytes().strip() if in_hex else path.read_bytes()
        try:
            check_secret(content, in_hex=in_hex)
        except ValueError as error:
            raise damaged_key(path, error) from error
        return content
    secret = secrets.token_bytes(SECRET_BYTES)
    if in_hex:
        secret = secret.hex().encode()
    write_secret(path, secret)
    return secret


def _unauthorized(code: str, message: str) -> ServiceError:
    return ServiceError(
        401, code, message, headers={"WWW-Authenticate": f'Bearer error="invalid_token", error_description="{code}"'}
    )
