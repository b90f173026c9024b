"""A flipped byte in the database's log, which SQLite itself takes for the trace of a crash, is noticed."""

import contextlib
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from phi_assets.emulator import small_files, write_ahead_log

WRITES = """
import os, sys
from pathlib import Path
from phi_assets.emulator.store.state import Store
store = Store(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    store.put("kind", str(number), {"text": "x" * 300})
    if number == 60:  # all of it goes into the database, and the log is begun anew
        store._connection.execute("PRAGMA wal_checkpoint(RESTART)")
if sys.argv[3] == "amid":  # more than SQLite's cache holds
    store._connection.execute("BEGIN IMMEDIATE")
    row = "INSERT INTO documents (kind, key, body) VALUES ('late', ?, ?)"
    for number in range(120):
        store._connection.execute(row, (number, "x" * 30000))
    store._connection.execute("UPDATE documents SET body = body || 'y' WHERE kind = 'late'")
os._exit(9)
"""


def killed(database: Path, writes: int, *, amid: bool = False) -> Path:
    """The log that a store leaves behind whose process ends without a word."""
    arguments = [str(database), str(writes), "amid" if amid else "-"]
    subprocess.run([sys.executable, "-c", WRITES, *arguments], check=False, timeout=60)
    return database.with_name(f"{database.name}-wal")


@pytest.mark.parametrize(("writes", "amid"), [(1, False), (40, False), (70, False), (20, True)])
def test_what_a_crash_leaves_is_whole(tmp_path: Path, writes: int, amid: bool) -> None:
    database = tmp_path / small_files.DATABASE_FILE
    killed(database, writes, amid=amid)
    assert small_files.damages(tmp_path) == []
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (writes,)


@pytest.mark.parametrize("writes", [40, 70])
def test_every_flipped_byte_is_noticed(tmp_path: Path, writes: int) -> None:
    log = killed(tmp_path / small_files.DATABASE_FILE, writes)
    content, draw = log.read_bytes(), random.Random(writes)
    end = len(content) if writes < 60 else 32 + 4 * 4120  # behind these frames lie those from before
    for place in [0, 9, 20, 30, *(draw.randrange(end) for _ in range(40))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        log.write_bytes(flipped)
        assert write_ahead_log.is_damaged(log), place
    (found,) = small_files.damages(tmp_path)
    assert f"{log} is damaged" in found
    assert small_files.OPEN_FILE in found
