"""Dagster's SQLite files without what only a loss of power needs, and without opening them for each event.

Dagster makes an engine for each event, opens the database, compiles its statements anew, closes it, and waits for the
disk several times: half of what a run of the toy graph took. Here a process keeps its engines and some connections.
For each new database it reads ninety migrations, twice, and with many an event or look at a run it asks whether tables
and columns are there, of PostgreSQL too. Here a process does that once. What a killed process has committed is there
with `synchronous = OFF` too; the operating system has it.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import dagster._core.storage.event_log.in_memory
import dagster._core.storage.event_log.sqlite.sqlite_event_log
import dagster._core.storage.runs.in_memory
import dagster._core.storage.runs.sqlite.sqlite_run_storage
import dagster._core.storage.schedules.sqlite.sqlite_schedule_storage
import sqlalchemy
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.runs import SqlRunStorage
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from tests import quick_events

_STORAGES: tuple[Any, ...] = (
    dagster._core.storage.event_log.sqlite.sqlite_event_log,
    dagster._core.storage.runs.sqlite.sqlite_run_storage,
    dagster._core.storage.schedules.sqlite.sqlite_schedule_storage,
)
_IN_MEMORY: tuple[Any, ...] = (
    dagster._core.storage.event_log.in_memory,
    dagster._core.storage.runs.in_memory,
)
_MOST = 12
"""So many databases are kept open: every run has one of its own."""


class _Engine(sqlalchemy.Engine):
    """Stays open when Dagster, which believes that it has an engine of its own, disposes of it."""

    def dispose(self, close: bool = True) -> None:
        pass


_read_migrations = cache(ScriptDirectory.from_config)
_read_url = cache(sqlalchemy.make_url)
_QUESTIONS: tuple[tuple[type, Callable[..., bool]], ...] = (
    (SqliteEventLogStorage, SqliteEventLogStorage.has_table),
    (SqliteEventLogStorage, SqliteEventLogStorage.has_secondary_index),
    (SqlEventLogStorage, SqlEventLogStorage._has_asset_key_col_on_connection),
    (SqlRunStorage, SqlRunStorage.has_run_stats_index_cols),
)
_known: WeakKeyDictionary[Any, set[tuple[str, ...]]] = WeakKeyDictionary()

_first = sqlalchemy.create_engine("sqlite://")
# From then on it knows the version of SQLite.
_first.connect().close()

_engines: dict[tuple[str, int], sqlalchemy.Engine] = {}
_lock = threading.Lock()


def use() -> None:
    """From now on this process opens Dagster's databases so."""
    quick_events.use()
    for storage in _STORAGES:
        storage.create_engine = _engine
    for storage in _IN_MEMORY:
        storage.create_engine = _engine_in_memory
    dagster._core.storage.event_log.in_memory.InMemoryEventLogStorage._connect = _connect  # type: ignore[method-assign]
    ScriptDirectory.from_config = _read_migrations
    for storage, question in _QUESTIONS:
        setattr(storage, question.__name__, _remembering(question))


def _remembering(question: Callable[..., bool]) -> Callable[..., bool]:
    """The same question, asked until the answer is yes: tables, columns and indexes come, and do not go."""

    def ask(self: Any, *what: Any) -> bool:
        known = _known.setdefault(self, set())
        about = (question.__name__, *what[-1:])
        if about not in known and question(self, *what):
            known.add(about)
        return about in known

    return ask


def _engine(url: str, **options: Any) -> sqlalchemy.Engine:
    """The engine of that database; of the file that lies there now, if another one did before."""
    with _lock:
        key = (url, _file(url))
        engine = _engines.pop(key, None)
        if engine is None:
            kept = options | {"poolclass": QueuePool, "pool_size": 2, "max_overflow": -1}
            engine = sqlalchemy.create_engine(url, **kept)
            engine.__class__ = _Engine
            event.listen(engine, "connect", _do_not_wait_for_the_disk)
            _know_statements(engine)
        # A file that is made only now is known by its number from the next time on.
        if key[1]:
            _engines[key] = engine
        while len(_engines) > _MOST:
            _close(_engines.pop(next(iter(_engines))))
        return engine


def _know_statements(engine: sqlalchemy.Engine) -> None:
    """Whoever compiles a statement does so for all of them."""
    engine.dialect, engine._compiled_cache = _first.dialect, _first._compiled_cache


def _engine_in_memory(url: str, **options: Any) -> sqlalchemy.Engine:
    """One that keeps its connections, which the threads of a run share."""
    kept = {"poolclass": QueuePool, "pool_size": 2, "max_overflow": -1, "connect_args": {"check_same_thread": False}}
    engine = sqlalchemy.create_engine(url, **options | kept)
    _know_statements(engine)
    return engine


@contextmanager
def _connect(self: Any) -> Iterator[sqlalchemy.Connection]:
    """Without what Dagster says to each connection: nothing in memory has a journal, and no event a foreign key."""
    with self._db_lock, self._engine.begin() as connection:
        yield connection


def _file(url: str) -> int:
    path = _read_url(url).database
    try:
        return os.stat(path).st_ino if path else 0
    except FileNotFoundError:
        return 0


def _close(engine: sqlalchemy.Engine) -> None:
    sqlalchemy.Engine.dispose(engine)


def _before_fork() -> None:
    # A connection that two processes share would be a database that nobody has locked. The lock is kept until the fork
    # is over, or a child could get it as another thread had it, for ever.
    _lock.acquire()
    for engine in _engines.values():
        _close(engine)


def _in_child() -> None:
    # What other threads had in hand at that moment is the parent's.
    _engines.clear()
    _lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_lock.release, after_in_child=_in_child)


def _do_not_wait_for_the_disk(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
