"""What the emulator knows, on disk: JSON documents in SQLite."""

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from phi_assets.emulator.small_files import OPEN_FILE
from phi_assets.emulator.store.failures import damaged, failure_of, is_no_room
from phi_assets.emulator.wire import json_documents
from phi_assets.emulator.wire.errors import ServiceError

T = TypeVar("T")

Document = dict[str, Any]
Documents = list[Document]
Items = list[tuple[str, Document]]
Rows = list[Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, key)
)
"""
_LAST_CODE_POINT = "\U0010ffff"
_LOOK_SECONDS = 0.5


class Store:
    """Documents by `(kind, key)`, in creation order, safe for threads and for a crash of the process.

    The file is readable by its owner only. Keys are compared exactly: where the service ignores case, callers
    lower-case the key. A write of what could not be read back raises ServiceError 400, one for which there is no room
    507, and both change nothing.
    """

    def __init__(self, path: Path):
        self._folder = path.parent
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.RLock()
        self._waiters = threading.local()
        # Autocommit: every transaction below begins and ends explicitly.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(_SCHEMA)
        damage = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise ServiceError(500, "StateDamaged", damaged(path, damage))
        self._mark = path.with_name(OPEN_FILE)
        # Another one each time, so that there is a log from now on, and that its loss can be seen.
        self._opened = (self._connection.execute("PRAGMA user_version").fetchone()[0] + 1) % (1 << 30)
        self._connection.execute(f"PRAGMA user_version = {self._opened}")
        self._log = path.with_name(f"{path.name}-wal")
        self._log_bytes = 0
        self._note_log()
        # SQLite removes the log when it closes the file, as it does when nobody has this object any more.
        self._end = weakref.finalize(self, _seal, self._connection, self._mark)

    @contextmanager
    def patient(self, stop: threading.Event) -> Iterator[None]:
        """In this thread, a write that finds no room waits until there is some, or until `stop` is set.

        For whoever works when no client is there to try again.
        """
        self._waiters.stop = stop
        try:
            yield
        finally:
            self._waiters.stop = None

    def get(self, kind: str, key: str) -> Document | None:
        """A copy of the document, or None."""
        rows = self._read("SELECT body FROM documents WHERE kind = ? AND key = ?", kind, key)
        return json_documents.loads(rows[0][0]) if rows else None

    def create(self, kind: str, key: str, body: Document) -> bool:
        """Adds the document; False, and nothing changed, if there is one of that kind and key already."""
        statement = "INSERT INTO documents (kind, key, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        return self._write(statement, kind, key, json_documents.dumps(body)) == 1

    def put(self, kind: str, key: str, body: Document) -> None:
        """Adds the document or replaces its body; a replaced one keeps its place in the creation order."""
        statement = (
            "INSERT INTO documents (kind, key, body) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body"
        )
        self._write(statement, kind, key, json_documents.dumps(body))

    def update(self, kind: str, key: str, change: Callable[[Document], Document | None]) -> Document | None:
        """Replaces the document by `change(document)`, atomically, and returns the new one.

        None if there is no such document, or if `change` returned None, which leaves it as it was. An exception in
        `change` leaves it as it was too. Where the thread is `patient`, `change` may be asked again.
        """

        def attempt() -> Document | None:
            with self._transaction():
                current = self.get(kind, key)
                changed = None if current is None else change(current)
                if changed is not None:
                    self.put(kind, key, changed)
                return changed

        return self._patiently(attempt)

    def delete(self, kind: str, key: str) -> bool:
        """Removes the document; False if there was none."""
        return self._write("DELETE FROM documents WHERE kind = ? AND key = ?", kind, key) == 1

    def list(self, kind: str, prefix: str = "") -> Documents:
        """Documents whose key starts with `prefix`, oldest first."""
        return [body for _, body in self.items(kind, prefix)]

    def items(self, kind: str, prefix: str = "") -> Items:
        """Keys and documents whose key starts with `prefix`, oldest first."""
        rows = self._read(
            "SELECT key, body FROM documents WHERE kind = ? AND key >= ? AND key < ? ORDER BY sequence",
            kind,
            prefix,
            prefix + _LAST_CODE_POINT,
        )
        return [(key, json_documents.loads(body)) for key, body in rows]

    def close(self) -> None:
        """Writes the journal back into the file; the store cannot be used afterwards."""
        with self._lock:
            self.seal()
            self._connection.close()

    def _note_log(self) -> None:
        """Keeps how long the log has been: it is never shorter, unless somebody cuts it off."""
        try:
            size = self._log.stat().st_size
        except FileNotFoundError:
            return  # this file system has none
        if size > self._log_bytes:
            self._log_bytes = size
            descriptor = os.open(self._mark, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(descriptor, b"%018d %010d" % (size, self._opened), 0)
            finally:
                os.close(descriptor)

    def seal(self) -> None:
        """Everything is in the file itself, which can do without its log until something is written again."""
        with self._lock:
            _seal(self._connection, self._mark)
            self._log_bytes = 0

    def clear(self) -> None:
        """Removes all documents."""
        self._write("DELETE FROM documents")

    def _read(self, statement: str, *values: str) -> Rows:
        def attempt() -> Rows:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()

        return self._in_words(attempt)

    def _write(self, statement: str, *values: str) -> int:
        """How many documents it changed."""

        def attempt() -> int:
            with self._lock:
                changed = self._connection.execute(statement, values).rowcount
                if not self._is_inside():
                    self._note_log()
                return changed

        return self._patiently(attempt)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        while True:
            try:
                return self._in_words(attempt)
            except ServiceError as error:
                stop: threading.Event | None = getattr(self._waiters, "stop", None)
                # Inside a transaction it is the whole of that which is tried again.
                if stop is None or not is_no_room(error) or self._is_inside() or stop.wait(_LOOK_SECONDS):
                    raise

    def _in_words(self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except sqlite3.Error as error:
            failure = failure_of(error, self._folder)
            if failure is None:
                raise
            raise failure from error

    def _is_inside(self) -> bool:
        """Whether this thread is in the middle of a transaction."""
        return bool(getattr(self._waiters, "inside", False))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            if self._is_inside():  # an update inside the `change` of another one
                yield
                return
            self._waiters.inside = True
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
                self._note_log()
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself has gone back where there was no room
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._waiters.inside = False


def _seal(connection: sqlite3.Connection, mark: Path) -> None:
    with contextlib.suppress(sqlite3.Error):  # where there is no room, the log stays and so does the mark
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        mark.unlink(missing_ok=True)
