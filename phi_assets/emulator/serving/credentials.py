"""Keys and tokens of online endpoints."""

import hmac
import secrets
from typing import Any

from phi_assets.emulator.serving.documents import KEYS, endpoint_key
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.workspace.context import Emulator

AUTH_MODES = ("Key", "AMLToken", "AADToken")


def ensure_keys(emulator: Emulator, endpoint: str) -> None:
    """Makes two random keys unless the endpoint has them; they lie in the state, which only its owner can read."""
    keys = {"primaryKey": secrets.token_urlsafe(32), "secondaryKey": secrets.token_urlsafe(32)}
    emulator.store.create(KEYS, endpoint_key(endpoint), keys)


def delete_keys(emulator: Emulator, endpoint: str) -> None:
    """Forgets the keys of the endpoint."""
    emulator.store.delete(KEYS, endpoint_key(endpoint))


def list_keys(emulator: Emulator, document: Document) -> dict[str, str]:
    """Both keys. Raises ServiceError: 400 unless the endpoint is authenticated by key."""
    _require_mode(document, "Key")
    return emulator.store.get(KEYS, endpoint_key(document["name"])) or {}


def regenerate_key(emulator: Emulator, document: Document, key_type: Any, key_value: Any) -> None:
    """Replaces the `Primary` or `Secondary` key, by `key_value` where that is a new text, else by a random one.

    The SDK always sends the present key along as the value; that is not taken as the wish to keep it.

    Raises:
        ServiceError: 400 for another key type, or unless the endpoint is authenticated by key.
    """
    _require_mode(document, "Key")
    field = {"primary": "primaryKey", "secondary": "secondaryKey"}.get(str(key_type).lower())
    if field is None:
        raise user_error(f"The key type must be Primary or Secondary, not {key_type!r}.", "BadArgument/ArgumentInvalid")

    def replace(keys: Document) -> Document:
        new = key_value if isinstance(key_value, str) and key_value not in ("", keys[field]) else None
        return keys | {field: new or secrets.token_urlsafe(32)}

    emulator.store.update(KEYS, endpoint_key(document["name"]), replace)


def issue_token(emulator: Emulator, document: Document) -> dict[str, Any]:
    """A token that scores on this endpoint only. Raises ServiceError: 400 unless the endpoint is in mode AMLToken."""
    _require_mode(document, "AMLToken")
    issued, life = int(emulator.clock.now().timestamp()), emulator.token_life
    return {
        "accessToken": emulator.auth.issue(_audience(emulator, document["name"]), life.seconds),
        "tokenType": "Bearer",
        "expiryTimeUtc": issued + life.seconds,
        "refreshAfterTimeUtc": issued + life.refresh_after,
    }


def authenticate(emulator: Emulator, document: Document, authorization: str) -> None:
    """Lets a scoring request pass that carries the endpoint's key or a token of its mode.

    Raises:
        ServiceError: 401 otherwise.
    """
    scheme, _, credential = authorization.partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise _unauthorized(document, "the 'Authorization' header is missing or not of the form 'Bearer <credential>'")
    mode = document["properties"]["authMode"]
    if mode == "Key":
        keys = emulator.store.get(KEYS, endpoint_key(document["name"])) or {}
        # Both are always compared, in constant time: the time of the answer tells nothing.
        matches = [hmac.compare_digest(key.encode(), credential.encode()) for key in keys.values()]
        if not any(matches):
            raise _unauthorized(document, "the key is not one of this endpoint's keys")
        return
    audiences = [_audience(emulator, document["name"])] if mode == "AMLToken" else emulator.auth.ml_audiences
    emulator.auth.claims(credential, audiences)


def _audience(emulator: Emulator, endpoint: str) -> str:
    return f"{emulator.base_url}/endpoints/{endpoint.lower()}"


def _require_mode(document: Document, mode: str) -> None:
    actual = document["properties"]["authMode"]
    if actual != mode:
        raise user_error(
            f"The endpoint '{document['name']}' has authentication mode {actual}; this request needs {mode}.",
            "BadArgument/ArgumentInvalid",
        )


def _unauthorized(document: Document, why: str) -> ServiceError:
    return ServiceError(
        401,
        "Unauthorized",
        f"Access denied to the endpoint '{document['name']}': {why}.",
        headers={"WWW-Authenticate": "Bearer"},
    )
