"""The key of the workspace's storage account: it signs requests (Shared Key) and shared access signatures.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key,
https://learn.microsoft.com/rest/api/storageservices/create-service-sas
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlencode

from starlette.requests import Request

from phi_assets.config.private_files import write_secret
from phi_assets.emulator.security.auth import damaged_key
from phi_assets.emulator.small_files import STORAGE_KEY_BYTES, STORAGE_KEY_FILE, check_storage_key
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.wire.queries import as_number

KEY_FILE = STORAGE_KEY_FILE
STORAGE_VERSION = "2022-11-02"
"""Of the blob service's REST interface, and of the signatures that are made here."""

SHARED_KEY = "SharedKey"

_MOST_SKEW = timedelta(minutes=15)
_SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d")
# What there is to sign, in its order, before and after the name of the resource.
_SAS_BEFORE = ("sp", "st", "se")
_SAS_AFTER = ("si", "sip", "spr", "sv", "sr", "snapshot", "ses", "rscc", "rscd", "rsce", "rscl", "rsct")
# Stored policies, rules for addresses, snapshots, encryption scopes and other headers of the answer do not exist here.
_SAS_UNKNOWN = frozenset({"si", "sip", "snapshot", "ses", "rscc", "rscd", "rsce", "rscl", "rsct"})


class AccountKey:
    """The account's key lies in `directory`, readable by its owner only, and is made if there is none.

    `names` are those under which signers know the account, the first of them the one that is used here; `now` is the
    time by which dates and signatures are judged.
    """

    def __init__(self, directory: Path, names: Sequence[str], now: Callable[[], datetime]):
        self._file = directory / STORAGE_KEY_FILE
        self._names = names
        self._now = now
        self.text = self._kept() or self.rotate()
        """The key as the service hands it out: base64."""

    def _kept(self) -> str | None:
        if not self._file.is_file():
            return None
        content = self._file.read_bytes()
        try:
            check_storage_key(content)
        except ValueError as error:
            raise damaged_key(self._file, error) from error
        return content.decode("ascii").strip()

    def rotate(self) -> str:
        """Replaces the key; whatever the old one has signed is refused from now on."""
        self.text = base64.b64encode(secrets.token_bytes(STORAGE_KEY_BYTES)).decode()
        write_secret(self._file, self.text.encode("ascii"))
        return self.text

    def check_request(self, request: Request) -> None:
        """Lets the request pass if its `Authorization: SharedKey <account>:<signature>` is right and fresh.

        Raises:
            ServiceError: 403 `AuthenticationFailed`.
        """
        account, _, given = request.headers["authorization"].removeprefix(SHARED_KEY).strip().rpartition(":")
        # Where the path names the account, as here and with Azurite, it is part of the resource a second time.
        if account != request.url.path.split("/")[1]:
            raise _not_authenticated(f"The account '{account}' in the Authorization header is not the one asked.")
        _check_date(request.headers, self._now())
        if not hmac.compare_digest(self._sign(_request_text(request, account)).encode(), given.encode()):
            raise _not_authenticated("The MAC signature found in the HTTP request is not the computed one.")

    def sign_sas(self, container: str, prefix_or_blob: str, permissions: str, expiry: datetime) -> str:
        """Query string of a shared access signature, without `?`.

        It covers the whole container if `prefix_or_blob` is empty, a folder if that ends in `/`, else that one blob.
        """
        parameters = {
            "sv": STORAGE_VERSION,
            "se": expiry.astimezone(UTC).strftime(_TIME_FORMATS[0]),
            "sr": "b",
            "sp": permissions,
        }
        if not prefix_or_blob:
            parameters["sr"] = "c"
        elif prefix_or_blob.endswith("/"):
            parameters |= {"sr": "d", "sdd": str(prefix_or_blob.count("/"))}
        text = _sas_text(parameters, self._names[0], container, prefix_or_blob)
        return urlencode(parameters | {"sig": self._sign(text)})

    def check_sas(self, query: Mapping[str, str], container: str, name: str, needed: str) -> None:
        """Lets pass if the signature in `query` is ours, covers the blob (or prefix) and allows one of `needed`.

        Raises:
            ServiceError: 403 `AuthenticationFailed` for a forged, foreign or expired signature, 403
                `AuthorizationPermissionMismatch` if it allows none of the letters in `needed`.
        """
        covered = _covered(query, name)
        given = query.get("sig", "").encode()
        if covered is None or not any(
            hmac.compare_digest(self._sign(_sas_text(query, account, container, covered)).encode(), given)
            for account in self._names
        ):
            raise _not_authenticated("Signature did not match.")
        begins = _time(query["st"]) if query.get("st") else datetime.min.replace(tzinfo=UTC)
        if not begins <= self._now() < _time(query["se"]):
            frame = f"{query.get('st', 'always')} to {query['se']}"
            raise _not_authenticated(f"Signature not valid in the specified time frame: {frame}.")
        if not set(needed) & set(query["sp"]):
            raise ServiceError(
                403,
                "AuthorizationPermissionMismatch",
                "This request is not authorized to perform this operation using this permission.",
            )

    def _sign(self, text: str) -> str:
        digest = hmac.new(base64.b64decode(self.text), text.encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()


def _check_date(headers: Mapping[str, str], now: datetime) -> None:
    text = headers.get("x-ms-date") or headers.get("date") or ""
    try:
        age = now - parsedate_to_datetime(text)
    except (TypeError, ValueError) as error:  # TypeError: a time without zone
        raise _not_authenticated(f"The date '{text}' in the request's header is missing or no HTTP date.") from error
    if abs(age) > _MOST_SKEW:
        side = "old" if age > timedelta(0) else "far ahead"
        raise _not_authenticated(f"Request date header too {side}: '{text}'; the time here is {now}.")


def _request_text(request: Request, account: str) -> str:
    headers = {name: request.headers.get(name, "") for name in _SIGNED_HEADERS}
    if headers["content-length"] == "0":
        headers["content-length"] = ""
    if "x-ms-date" in request.headers:
        headers["date"] = ""
    own = sorted(
        ((name, value) for name, value in request.headers.items() if name.startswith("x-ms-")),
        key=lambda header: _order(header[0]),
    )
    queried: dict[str, list[str]] = {}
    for pair in filter(None, request.scope["query_string"].decode("ascii").split("&")):
        name, _, value = pair.partition("=")
        queried.setdefault(unquote(name).lower(), []).append(unquote(value))
    return (
        "\n".join([request.method, *headers.values()])
        + "\n"
        + "".join(f"{name}:{value.strip()}\n" for name, value in own)
        + f"/{account}{request.scope['raw_path'].decode('ascii')}"
        + "".join(f"\n{name}:{','.join(sorted(values))}" for name, values in sorted(queried.items()))
    )


def _order(name: str) -> tuple[str, str]:
    """The order of headers as the service's clients have it: a dash does not count, an underscore comes before all."""
    return name.replace("-", "").replace("_", " "), name


def _sas_text(parameters: Mapping[str, str], account: str, container: str, covered: str) -> str:
    resource = "/".join(filter(None, ["/blob", account, container, covered.rstrip("/")]))
    before, after = ([parameters.get(key, "") for key in keys] for keys in (_SAS_BEFORE, _SAS_AFTER))
    return "\n".join([*before, resource, *after])


def _covered(parameters: Mapping[str, str], name: str) -> str | None:
    """What of `name` the signature's own parameters claim to cover; None if they are not complete, or mean too much."""
    if not {"sv", "se", "sr", "sp"} <= parameters.keys() or _SAS_UNKNOWN & parameters.keys():
        return None
    if parameters["sr"] == "c":
        return ""
    if parameters["sr"] == "b":
        return name
    depth = as_number(parameters.get("sdd", ""))
    segments = name.split("/")
    if parameters["sr"] != "d" or depth is None or len(segments) <= depth:
        return None
    return "/".join(segments[:depth])


def _time(text: str) -> datetime:
    for form in _TIME_FORMATS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise _not_authenticated(f"'{text}' is no time of a shared access signature.")


def _not_authenticated(detail: str) -> ServiceError:
    message = (
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        f"including the signature. {detail}"
    )
    return ServiceError(403, "AuthenticationFailed", message)
