"""A store without room says so, and whoever works without a client waits until there is some."""

import errno
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phi_assets.emulator.store.failures import failure_of
from phi_assets.emulator.store.state import Store
from phi_assets.emulator.wire.errors import ServiceError

LARGE = {"large": "x" * 100_000}


@contextmanager
def full(store: Store) -> Iterator[None]:
    """SQLite itself finds no page more, as on a full disk."""
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        store._connection.execute("PRAGMA max_page_count = 1000000")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state.sqlite")
    store.put("kind", "key", {"number": 0})
    return store


def test_a_write_without_room_is_507_with_the_folder_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    writes = (
        lambda: store.put("kind", "key", LARGE),
        lambda: store.create("kind", "other", LARGE),
        lambda: store.update("kind", "key", lambda _: LARGE),
    )
    with full(store):
        for write in writes:
            with pytest.raises(ServiceError) as refused:
                write()
            assert (refused.value.status, refused.value.code) == (507, "InsufficientStorage")
            assert str(tmp_path) in refused.value.message
        assert store.items("kind") == [("key", {"number": 0})]
    for write in writes:
        write()


def test_a_patient_thread_waits_for_room(store: Store) -> None:
    stop, written = threading.Event(), threading.Event()

    def work() -> None:
        with store.patient(stop):
            store.update("kind", "key", lambda document: document | LARGE)
            store.create("kind", "other", LARGE)
        written.set()

    with full(store):
        thread = threading.Thread(target=work)
        thread.start()
        assert not written.wait(0.3)
        assert store.get("kind", "key") == {"number": 0}
    thread.join(10)
    assert written.is_set()
    assert store.get("kind", "key") == {"number": 0} | LARGE


def test_patience_ends_when_the_emulator_stops(store: Store) -> None:
    stop = threading.Event()
    stop.set()
    with full(store), store.patient(stop), pytest.raises(ServiceError, match="full"):
        store.put("kind", "key", LARGE)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OSError(errno.ENOSPC, "no space"), 507, "is full"),
        (OSError(errno.EROFS, "read-only"), 507, "cannot be written"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]), 507, "is full"),
        (OSError(errno.EMFILE, "too many"), 503, "descriptors"),
        (OSError(errno.EAGAIN, "again"), 503, "threads or processes"),
        (MemoryError(), 503, "memory"),
        (RuntimeError("can't start new thread"), 503, "threads"),
    ],
    ids=str,
)
def test_what_is_wanting_has_its_name_and_is_no_damage(error: Exception, status: int, words: str) -> None:
    failure = failure_of(error, Path("/home/emulator"))
    assert failure is not None
    assert (failure.status, words in failure.message) == (status, True)
    assert ("Nothing is damaged" in failure.message) == (status == 503)


def test_a_defect_of_ours_is_no_failure_of_the_machine() -> None:
    for error in (ValueError("x"), RuntimeError("x"), FileNotFoundError(errno.ENOENT, "x"), sqlite3.ProgrammingError()):
        assert failure_of(error, Path()) is None


def test_a_damaged_database_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"x" * 8192)
    with pytest.raises(sqlite3.DatabaseError) as broken:
        Store(tmp_path / "state.sqlite")
    failure = failure_of(broken.value, tmp_path)
    assert failure is not None
    assert str(tmp_path / "state.sqlite") in failure.message
    assert "delete" in failure.message
