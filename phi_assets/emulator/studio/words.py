"""Numbers, times and names as people read them."""

import math
import re
from datetime import UTC, datetime

_CSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_ASSETS = (
    re.compile(r".*/(?P<kind>models|data|components)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)/?", re.IGNORECASE),
    re.compile(r"azureml:(?P<name>[^/:@]+):(?P<version>[^/:@]+)"),
)
_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)", re.IGNORECASE)

TONES = {
    "completed": "good",
    "succeeded": "good",
    "failed": "bad",
    "canceled": "off",
    "cancelrequested": "warn",
    "notresponding": "warn",
    "deleting": "warn",
    "running": "live",
    "finalizing": "live",
    "creating": "live",
    "updating": "live",
}
"""Status or provisioning state to the class of its colour; every other one waits for something."""


def tone(status: str) -> str:
    """Class of a status's colour."""
    return TONES.get(status.lower(), "wait")


def moment(text: str | None) -> datetime | None:
    """A time stamp of the state."""
    return datetime.fromisoformat(text) if text else None


def seconds_between(start: str | None, end: str | None) -> float | None:
    """From `start` until `end`, or until now; None without a start."""
    begun, ended = moment(start), moment(end) or datetime.now(UTC)
    return None if begun is None else max((ended - begun).total_seconds(), 0.0)


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`; a dash for nothing."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, below, below_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // below} {below_name}"
    return f"{whole} s"


def ago(text: str | None) -> str:
    """How long ago the time stamp is: `just now`, `5 min ago`, `2 d ago`, and `in 3 h` for one that is to come."""
    then = moment(text)
    if then is None:
        return "-"
    seconds = (datetime.now(UTC) - then).total_seconds()
    length = abs(seconds)
    if length < 45:
        return "just now"
    size, name = next(((size, name) for size, name in ((86400, "d"), (3600, "h")) if length >= size), (60, "min"))
    rounded = f"{max(round(length / size), 1)} {name}"
    return f"{rounded} ago" if seconds > 0 else f"in {rounded}"


def clock_time(text: str | None) -> str:
    """The time stamp in the time zone of this machine."""
    then = moment(text)
    return f"{then.astimezone():%Y-%m-%d %H:%M:%S}" if then else "-"


def number(value: float) -> str:
    """At most four significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def size(count: int) -> str:
    """Bytes in decimal units."""
    for limit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {name}"
    return f"{count} bytes"


def asset_label(uri: str) -> str:
    """What a uri names, short: `name:version` of an asset, the path in a datastore, else the uri."""
    for pattern in _ASSETS:
        if match := pattern.fullmatch(uri):
            return f"{match['name']}:{match['version']}"
    match = _DATASTORE.fullmatch(uri)
    return match["path"].rstrip("/") if match else uri


def plain(text: str) -> str:
    """What a terminal shows in the end: without colours, and of a progress bar its last state."""
    lines = _CSI.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
