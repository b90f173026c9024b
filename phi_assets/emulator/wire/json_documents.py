"""JSON that whoever reads it back can read: the one gate for what clients send and for what is stored."""

import json
import math
from typing import Any, NoReturn

from phi_assets.emulator.wire.errors import ServiceError, user_error

LARGEST_BODY = 4 << 20
"""Bytes: https://learn.microsoft.com/azure/azure-resource-manager/templates/best-practices#template-limits."""

_DEEPEST = 64
"""What .NET's reader takes: https://learn.microsoft.com/dotnet/api/system.text.json.jsonreaderoptions.maxdepth."""
_MOST = 1 << 63
_INVALID = "BadArgument/ArgumentInvalid"


def parse(raw: bytes) -> Any:
    """What a request's body says; None if it is empty.

    Raises:
        ServiceError: 400, with the field's path, for what is not JSON, or what other readers of JSON do not take: NaN
            and infinities, half a surrogate pair, numbers beyond 64 bits, more than 64 levels.
    """
    try:
        body = json.loads(raw) if raw.strip() else None
    except RecursionError as error:
        raise _too_deep("The request body") from error
    except ValueError as error:
        raise user_error(f"The request body is not JSON: {error}", "BadArgument") from error
    check(body)
    return body


def check(value: Any) -> None:
    """Raises ServiceError 400 as `parse` does, for a value that is there already."""
    waiting: list[tuple[str, Any, int]] = [("", value, 1)]
    while waiting:
        path, value, depth = waiting.pop()
        if depth > _DEEPEST and isinstance(value, dict | list):
            raise _too_deep(f"'{shortened(path)}'")
        if isinstance(value, dict):
            for name, inner in value.items():
                inside = f"{path}.{name}" if path else str(name)
                _check_text(path or "the request body", name, "a name in it")
                waiting.append((inside, inner, depth + 1))
        elif isinstance(value, list):
            waiting += [(f"{path}[{index}]", inner, depth + 1) for index, inner in enumerate(value)]
        elif isinstance(value, str):
            _check_text(path, value, "it")
        elif isinstance(value, float) and not math.isfinite(value):
            refuse(path, "NaN and infinities are no JSON")
        elif isinstance(value, int) and not -_MOST <= value < _MOST:
            refuse(path, "a whole number has at most 64 bits")


def dumps(document: Any) -> str:
    """The text of a document that `loads` reads back as it was.

    Raises:
        ServiceError: 400 for one of which that is not so, with the field's path; nothing is to be stored then.
    """
    try:
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError):
        check(document)
        raise
    return text


def loads(text: str) -> Any:
    """The document; what earlier versions have stored and nobody could be answered with is replaced: NaN by null."""
    document = json.loads(text, parse_constant=lambda _: None)
    if "\\ud" in text:
        # Earlier versions wrote surrogate pairs in this way, whole ones and halves.
        document = json.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    return document


def refuse(path: str, why: str) -> NoReturn:
    """Raises ServiceError 400 about the field at `path`, such as `properties.tags.a`."""
    raise user_error(f"'{shortened(path)}' is not valid: {why}.", _INVALID)


def shortened(text: str, most: int = 200) -> str:
    """The text as messages show it: printable, and not longer than they should be."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= most else f"{shown[:most]}..."


def _check_text(path: str, text: Any, what: str) -> None:
    try:
        str(text).encode()
    except UnicodeEncodeError:
        refuse(path, f"{what} has half a surrogate pair, which is no character")


def _too_deep(what: str) -> ServiceError:
    return user_error(f"{what} is nested more than {_DEEPEST} levels deep.", _INVALID)
