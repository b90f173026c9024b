"""What the emulator knows, on disk: JSON documents in SQLite."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phi_assets.emulator.wire import json_documents

Document = dict[str, Any]
Documents = list[Document]
Items = list[tuple[str, Document]]

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


class Store:
    """Documents by `(kind, key)`, in creation order, safe for threads and for a crash of the process.

    The file is readable by its owner only. Keys are compared exactly: where the service ignores case, callers
    lower-case the key. A write of what could not be read back raises ServiceError 400, and changes nothing.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.RLock()
        # Autocommit: every transaction below begins and ends explicitly.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(_SCHEMA)

    def get(self, kind: str, key: str) -> Document | None:
        """A copy of the document, or None."""
        with self._lock:
            row = self._connection.execute(
                "SELECT body FROM documents WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return json_documents.loads(row[0]) if row else None

    def create(self, kind: str, key: str, body: Document) -> bool:
        """Adds the document; False, and nothing changed, if there is one of that kind and key already."""
        with self._lock:
            cursor = self._connection.execute(
                "INSERT INTO documents (kind, key, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (kind, key, json_documents.dumps(body)),
            )
            return cursor.rowcount == 1

    def put(self, kind: str, key: str, body: Document) -> None:
        """Adds the document or replaces its body; a replaced one keeps its place in the creation order."""
        with self._lock:
            self._connection.execute(
                "INSERT INTO documents (kind, key, body) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
                (kind, key, json_documents.dumps(body)),
            )

    def update(self, kind: str, key: str, change: Callable[[Document], Document | None]) -> Document | None:
        """Replaces the document by `change(document)`, atomically, and returns the new one.

        None if there is no such document, or if `change` returned None, which leaves it as it was. An exception in
        `change` leaves it as it was too.
        """
        with self._transaction():
            current = self.get(kind, key)
            changed = None if current is None else change(current)
            if changed is not None:
                self.put(kind, key, changed)
            return changed

    def delete(self, kind: str, key: str) -> bool:
        """Removes the document; False if there was none."""
        with self._lock:
            cursor = self._connection.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))
            return cursor.rowcount == 1

    def list(self, kind: str, prefix: str = "") -> Documents:
        """Documents whose key starts with `prefix`, oldest first."""
        return [body for _, body in self.items(kind, prefix)]

    def items(self, kind: str, prefix: str = "") -> Items:
        """Keys and documents whose key starts with `prefix`, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT key, body FROM documents WHERE kind = ? AND key >= ? AND key < ? ORDER BY sequence",
                (kind, prefix, prefix + _LAST_CODE_POINT),
            ).fetchall()
        return [(key, json_documents.loads(body)) for key, body in rows]

    def close(self) -> None:
        """Writes the journal back into the file; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def clear(self) -> None:
        """Removes all documents."""
        with self._lock:
            self._connection.execute("DELETE FROM documents")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            if self._connection.in_transaction:  # an update inside the `change` of another one
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
