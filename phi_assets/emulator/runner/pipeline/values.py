"""Checks the value of a component's input against the input's declaration."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from phi_assets.emulator.wire.errors import ServiceError, user_error

ASSET_TYPES = ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model", "path")
MODEL_TYPES = ("mlflow_model", "custom_model", "triton_model")

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_INVALID = "BadArgument/ArgumentInvalid"


def declared_type(declaration: Mapping[str, Any]) -> str:
    """The declared type in lower case; `string` if there is none."""
    return str(declaration.get("type", "string")).lower()


def is_asset(declaration: Mapping[str, Any]) -> bool:
    """Whether the input is data or a model, and not a literal."""
    return declared_type(declaration) in ASSET_TYPES


def is_optional(declaration: Mapping[str, Any]) -> bool:
    """Whether the input may have no value."""
    return str(declaration.get("optional", False)).lower() == "true"


def wire_text(value: Any) -> str:
    """A YAML scalar as the service writes it: everything is text, booleans with a capital letter."""
    return value if isinstance(value, str) else str(value)


def checked(text: str, declaration: Mapping[str, Any], where: str) -> str:
    """`text` as the component will see it.

    `where` names the input for the error message.

    Raises:
        ServiceError: 400 if the text is not of the declared type, not one of the enum or out of range.
    """
    kind = declared_type(declaration)
    choices = [wire_text(choice) for choice in declaration.get("enum") or []]
    if kind == "boolean":
        if text.lower() not in {"true", "false"}:
            raise user_error(f"{where} must be a boolean (true or false), not '{text}'.", _INVALID)
        text = text.capitalize()
    elif kind == "integer":
        if not _INTEGER.fullmatch(text.strip()):
            raise user_error(f"{where} must be an integer, not '{text}'.", _INVALID)
        _check_range(int(text), declaration, where)
    elif kind == "number":
        _check_range(_number(text, where), declaration, where)
    if choices and text not in choices:
        raise user_error(f"{where} is '{text}', which is not one of: {', '.join(choices)}.", _INVALID)
    return text


def count(value: Any, where: str) -> int:
    """A whole number from 1. Raises ServiceError 400 if it is something else."""
    return int(checked(wire_text(value), {"type": "integer", "min": 1}, where))


def unknown_name(name: str, known: Iterable[str], where: str) -> ServiceError:
    """400 for an input that the component does not have, with the names it may have been meant to be."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else f" It has: {', '.join(names) or 'none'}."
    return user_error(f"{where} has no input '{name}'.{hint}", _INVALID)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise user_error(f"{where} must be a number, not '{text}'.", _INVALID)
    return value


def _check_range(value: float, declaration: Mapping[str, Any], where: str) -> None:
    low, high = declaration.get("min"), declaration.get("max")
    if low is not None and value < float(low):
        raise user_error(f"{where} is {value}, but its minimum is {low}.", _INVALID)
    if high is not None and value > float(high):
        raise user_error(f"{where} is {value}, but its maximum is {high}.", _INVALID)
