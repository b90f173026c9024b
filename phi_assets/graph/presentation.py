"""How the metadata of an asset is laid out: in the order of what a person asks, with numbers rounded alike."""

import math
from collections.abc import Mapping
from typing import Any

import dagster as dg

_WHY = ("action", "reason", "changed")
_FILES = (dg.PathMetadataValue, dg.TableSchema, dg.TableColumnLineage)
_IDS = ("model", "id", "workspace", "fingerprint", "sha256", "content_hash", "revision", "inputs")
"""Long values that programs read; what a person wants to know of them is said in short elsewhere."""

_DIGITS = 4


def presented(metadata: Mapping[str, Any], *numbers: str) -> dict[str, Any]:
    """The same metadata: what was done and why, then `numbers`, pictures, links, all else, files and long ids.

    The UI keeps this order in the table of metadata. Its plots are in the order of the alphabet, of all that is a
    number.
    """
    first = [*_WHY, *numbers]
    places = {key: place for place, key in enumerate(first)}

    def place(key: str) -> int:
        return places.get(key, len(first) + _kind(key, metadata[key]))

    return {key: _rounded(metadata[key]) for key in sorted(metadata, key=place)}


def rounded(number: float) -> float:
    """The number with four significant digits, and with all digits before the point."""
    if not number or not math.isfinite(number):
        return number
    return round(number, max(0, _DIGITS - 1 - math.floor(math.log10(abs(number)))))


def _kind(key: str, value: Any) -> int:
    if key in _IDS:
        return 4
    if isinstance(value, dg.MarkdownMetadataValue):
        return 0
    if isinstance(value, dg.UrlMetadataValue):
        return 1
    return 3 if isinstance(value, _FILES) else 2


def _rounded(value: Any) -> Any:
    return rounded(value) if isinstance(value, float) else value
