"""The filter of `runs:query`: which runs of an experiment are asked for, as an OData expression.

Known of it is what azureml-core sends (`_restclient/_odata`): `RunId eq a or
RunId eq b`, never more than 50 of them, `RootRunId eq a`, `(Status eq Running)`, `(ParentRunId eq null)`, joined by
`and` and `or`, with values that are not quoted. Nobody says what is too long, so more than that is refused.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Any

from phi_assets.emulator.runner.records import Run
from phi_assets.emulator.wire.errors import user_error

Predicate = Callable[[Run], bool]

MOST_COMPARISONS = 50

_FIELDS = {"runid": "run_id", "rootrunid": "root_run_id", "parentrunid": "parent_run_id", "status": "status"}
_TOKEN = re.compile(r"\s*(?:(?P<sign>[()])|'(?P<quoted>(?:[^']|'')*)'|(?P<word>[^\s()']+))")


def predicate(text: str) -> Predicate:
    """Whether a run is one of those that the filter asks for; all are where it is empty.

    Raises:
        ServiceError: 400 for a filter that is not understood, or that compares too often.
    """
    if not text.strip():
        return lambda run: True
    reader = _Reader(text)
    found = reader.alternatives()
    reader.expect_end()
    return found


class _Reader:
    """Reads `a eq x and (b ne y or ...)`; `and` binds more closely than `or`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split(text.strip())
        self._steps = 0
        """Comparisons and parentheses."""

    def alternatives(self) -> Predicate:
        parts = [self._all_of()]
        while self._take_word("or"):
            parts.append(self._all_of())
        return lambda run: any(part(run) for part in parts)

    def expect_end(self) -> None:
        if self._tokens:
            raise self._refused()

    def _all_of(self) -> Predicate:
        parts = [self._one()]
        while self._take_word("and"):
            parts.append(self._one())
        return lambda run: all(part(run) for part in parts)

    def _one(self) -> Predicate:
        kind, text = self._next()
        self._steps += 1
        if self._steps > MOST_COMPARISONS:
            raise user_error(f"The filter has more than {MOST_COMPARISONS} comparisons.", "BadArgument")
        if (kind, text) == ("sign", "("):
            inner = self.alternatives()
            if self._next() != ("sign", ")"):
                raise self._refused()
            return inner
        field, (_, operator), (value_kind, value) = _FIELDS.get(text.lower()), self._next(), self._next()
        if kind != "word" or field is None or operator not in ("eq", "ne") or value_kind == "sign":
            raise self._refused()
        wanted: Any = None if (value_kind, value) == ("word", "null") else value
        return lambda run: (run[field] == wanted) == (operator == "eq")

    def _take_word(self, word: str) -> bool:
        is_there = bool(self._tokens) and self._tokens[0] == ("word", word)
        if is_there:
            self._tokens.popleft()
        return is_there

    def _next(self) -> tuple[str, str]:
        if not self._tokens:
            raise self._refused()
        return self._tokens.popleft()

    def _split(self, text: str) -> deque[tuple[str, str]]:
        tokens: deque[tuple[str, str]] = deque()
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._refused()
            kind = str(match.lastgroup)
            tokens.append((kind, match[kind].replace("''", "'") if kind == "quoted" else match[kind]))
            position = match.end()
        return tokens

    def _refused(self) -> Exception:
        return user_error(
            f"Filter '{self._text[:200]}' is not understood here: {', '.join(_FIELDS)} can be compared by eq and "
            "ne, and comparisons be joined by and, or and parentheses.",
            "BadArgument",
        )
