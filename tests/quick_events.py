"""Dagster's events as text, which a process writes once and reads once, and rows without statements of their own.

Dagster writes an event anew for each table that it is in, reads the same events each time that somebody asks for the
latest ones or looks whether there are more, and makes a statement of SQLAlchemy for each row.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from dagster._core.storage.event_log import InMemoryEventLogStorage, SqliteEventLogStorage, sql_event_log
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import deserialize_value, serialize_value

_MOST = 1000
"""So many texts of a process are known: two runs of the graph."""

_INSERT = SqlEventLogStorageTable.insert()

_read = lru_cache(_MOST)(deserialize_value)


def use() -> None:
    """From now on this process does so."""
    storage: Any = sql_event_log
    storage.serialize_value = _Written()
    storage.deserialize_value = _read
    storage.deserialize_values = _read_all
    for kind in (SqliteEventLogStorage, InMemoryEventLogStorage):
        kind.prepare_insert_event = _prepare


class _Written:
    """Knows the text of what was written last."""

    def __init__(self) -> None:
        self._last: tuple[Any, str] = (None, "")

    def __call__(self, value: Any) -> str:
        known, text = self._last
        if known is not value:
            text = serialize_value(value)
            self._last = (value, text)
        return text


def _read_all(texts: Iterable[str], kind: Any) -> list[Any]:
    return [_read(text, kind) for text in texts]


class _Row:
    """To a connection it is the statement that inserts this row."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row

    def _execute_on_connection(self, connection: Any, _: object, options: Any) -> Any:
        return _INSERT._execute_on_connection(connection, [self._row], options)


def _prepare(self: Any, event: Any) -> _Row:
    return _Row(self._event_to_row(event))
