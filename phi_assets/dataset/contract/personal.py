"""Personal data and credentials in conversations, found by patterns and check digits, on this machine alone."""

from collections.abc import Sequence
from typing import Any, get_args

import polars as pl

from phi_assets.config.dataset import PersonalKind
from phi_assets.dataset.errors import DatasetError

_LOCALES = {"DE": "de"}
"""What the library has to be told to look for kinds that begin so."""


class PersonalData:
    """Finds the kinds of personal data that a recipe names, and never says what it has found but its kind.

    The extra `pii` brings what finds them: https://pypi.org/project/datafog-core/

    Raises:
        DatasetError: it is not installed.
    """

    def __init__(self, kinds: Sequence[PersonalKind] = get_args(PersonalKind)) -> None:
        self._library = _library()
        self._scan: dict[str, Any] = {"entities": list(kinds)}
        if locales := [locale for prefix, locale in _LOCALES.items() if any(kind.startswith(prefix) for kind in kinds)]:
            self._scan["locale"] = locales[0]

    def held_by(self, texts: pl.Series) -> list[str | None]:
        """For each text the kinds that it holds, in words; None where it holds none."""
        return [self._kinds(text) for text in texts.fill_null("").to_list()]

    def _kinds(self, text: str) -> str | None:
        found = dict.fromkeys(finding.entity_type for finding in self._library.scan(text, self._scan))
        return f"holds {', '.join(found)}" if found else None

    def redacted(self, text: str) -> str:
        """The text with the name of its kind in the place of each of them: `[EMAIL]`."""
        how = {"scan": self._scan, "transform": {"default": {"strategy": "redact"}}}
        return self._library.scan_and_transform(text, how).text


def _library() -> Any:
    try:
        import datafog_core
    except ImportError as error:
        raise DatasetError(
            "The recipe's contract.personal_data needs a library that is not installed: pip install 'phi_assets[pii]'"
        ) from error
    return datafog_core
