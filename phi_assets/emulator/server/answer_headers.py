"""Headers that every answer of a plane has, as recorded: ids for support, times, and what caches are told.

Two of the recording are left out: `Request-Context` names a telemetry resource, and there is none;
`Strict-Transport-Security` would keep browsers from other programs on localhost that have no certificate.
"""

import uuid
from datetime import UTC, datetime

from starlette.datastructures import Headers, MutableHeaders

from phi_assets.emulator.wire.planes import Plane

_CLUSTER = "phi-emulator"
_CORRELATION = "x-ms-correlation-request-id"
_JSON = "application/json"
_UNCACHED = {"cache-control": "no-cache", "pragma": "no-cache", "expires": "-1"}
_OF_STORAGE_OR_MODELS: frozenset[Plane] = frozenset({"blob", "scoring"})


def complete(headers: MutableHeaders, plane: Plane, asked: Headers, seconds: float, location: str) -> None:
    """Adds to the `headers` of an answer what its plane sends with all of them; `asked` are the request's headers.

    Nothing is replaced but the plain content type of JSON. Answers of storage and of models have headers of their own.
    """
    if plane in _OF_STORAGE_OR_MODELS:
        return
    if headers.get("content-type") == _JSON:
        headers["content-type"] = f"{_JSON}; charset=utf-8"
    added = {
        "x-content-type-options": "nosniff",
        "x-aml-cluster": _CLUSTER,
        "x-ms-response-type": "standard",
        "x-request-time": f"{seconds:.3f}",
    }
    if plane == "arm":
        correlation = asked.get(_CORRELATION) or str(uuid.uuid4())
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        added |= _UNCACHED
        added |= {
            _CORRELATION: correlation,
            "x-ms-routing-request-id": f"{location.upper()}:{moment}:{correlation}",
        }
    for name, value in added.items():
        headers.setdefault(name, value)
