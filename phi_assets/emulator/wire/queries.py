"""Numbers in query parameters."""

import re

from starlette.requests import Request

from phi_assets.emulator.wire.errors import ServiceError, user_error

_NUMBER = re.compile(r"[0-9]{1,9}")


def number(request: Request, name: str, *, least: int = 0) -> int | None:
    """The query parameter of this name; None if there is none. Raises ServiceError 400 for what is no such number."""
    text = request.query_params.get(name)
    if text is None:
        return None
    found = as_number(text)
    if found is None or found < least:
        raise not_a_number(name, text, least)
    return found


def as_number(text: str) -> int | None:
    """The whole number that these at most nine digits are; None for anything else."""
    return int(text) if _NUMBER.fullmatch(text) else None


def not_a_number(name: str, text: str, least: int = 0) -> ServiceError:
    """400 for a parameter that should have been a number."""
    message = f"{name} must be a whole number from {least} to 999999999, not '{text[:100]}'."
    return user_error(message, "BadArgument/ArgumentInvalid")
