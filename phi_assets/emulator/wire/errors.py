"""Errors in the shape that Azure Machine Learning answers with."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

COMPONENT = "managementfrontend"


class ServiceError(Exception):
    """A request that the service refuses; the application turns it into the service's error document.

    `inner` is the nested `{"code": ..., "innerError": ...}` that the service puts under `InnerError`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[Mapping[str, Any]] = (),
        inner: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = [dict(detail) for detail in details]
        self.inner = inner
        self.headers = dict(headers or {})

    def __str__(self) -> str:
        return f"({self.code}) {self.message}"

    def document(self, *, location: str = "emulator", request_id: str | None = None) -> dict[str, Any]:
        """The JSON body, with `additionalInfo` in the order in which the service sends it."""
        correlation = {"operation": uuid.uuid4().hex, "request": request_id or uuid.uuid4().hex[:16]}
        info: list[tuple[str, Any]] = [
            ("ComponentName", COMPONENT),
            ("Correlation", correlation),
            ("Environment", location),
            ("Location", location),
            ("Time", datetime.now(UTC).isoformat()),
        ]
        if self.inner is not None:
            info.append(("InnerError", self.inner))
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "details": self.details,
                "additionalInfo": [{"type": kind, "info": {"value": value}} for kind, value in info],
            }
        }


def inner_error(path: str) -> dict[str, Any]:
    """`Immutable/JobPropertyImmutable` as the service nests it: `{"code": "Immutable", "innerError": {...}}`."""
    nested: dict[str, Any] | None = None
    for code in reversed(path.split("/")):
        nested = {"code": code, "innerError": nested}
    return nested or {}


def not_found(what: str, name: str, *, code: str = "ResourceNotFound", detail: str | None = None) -> ServiceError:
    """404 for the `what` called `name`; `detail` becomes the code of the one entry of `details`."""
    message = f"{what} '{name}' was not found."
    details = [{"code": detail, "message": message, "details": [], "additionalInfo": []}] if detail else []
    return ServiceError(404, code, message, details=details)


def user_error(
    message: str, inner_code: str | None = None, *, status: int = 400, details: Sequence[Mapping[str, Any]] = ()
) -> ServiceError:
    """400 `UserError`; `inner_code` is a path such as `BadArgument/ArgumentInvalid`."""
    return ServiceError(
        status, "UserError", message, details=details, inner=inner_error(inner_code) if inner_code else None
    )


def conflict(message: str, code: str = "Conflict") -> ServiceError:
    """409: the resource's present state does not allow the request."""
    return ServiceError(409, code, message)
