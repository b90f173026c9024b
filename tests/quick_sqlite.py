"""Dagster's SQLite files without what only a loss of power needs.

Dagster opens and closes a database for each event. So each event made an engine, compiled its statements anew and
waited for the disk several times: a third of what a run of the toy graph took. What a killed process has committed is
there with `synchronous = OFF` too; the operating system has it.
"""

from typing import Any

import dagster._core.storage.event_log.sqlite.sqlite_event_log
import dagster._core.storage.runs.sqlite.sqlite_run_storage
import dagster._core.storage.schedules.sqlite.sqlite_schedule_storage
import sqlalchemy
from sqlalchemy import event

_STORAGES: tuple[Any, ...] = (
    dagster._core.storage.event_log.sqlite.sqlite_event_log,
    dagster._core.storage.runs.sqlite.sqlite_run_storage,
    dagster._core.storage.schedules.sqlite.sqlite_schedule_storage,
)
_engines: dict[str, sqlalchemy.Engine] = {}


def use() -> None:
    """From now on this process opens Dagster's databases so."""
    for storage in _STORAGES:
        storage.create_engine = _engine


def _engine(url: str, **options: Any) -> sqlalchemy.Engine:
    """The engine of that database. It has no pool, so it holds no connection that a fork would share."""
    if url not in _engines:
        _engines[url] = sqlalchemy.create_engine(url, **options)
        event.listen(_engines[url], "connect", _do_not_wait_for_the_disk)
    return _engines[url]


def _do_not_wait_for_the_disk(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
