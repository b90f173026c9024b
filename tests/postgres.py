"""A PostgreSQL server of Debian's package `postgresql`, and a new database of it for each Dagster instance."""

import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from tests.e2e.harness.processes import free_port, is_listening, until

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
_BIN = _PROGRAMS[-1] if _PROGRAMS else None

IS_AT_HAND = _BIN is not None or "CI" in os.environ
"""In CI it has to be: there its tests fail without it."""

needs_postgresql = pytest.mark.skipif(
    not IS_AT_HAND, reason="no PostgreSQL here: install the system's `postgresql` package"
)

USER = "dagster"
_UNPRIVILEGED = "nobody"
"""Whose processes the server's are where the tests run as root, which PostgreSQL refuses to run as."""
_START_SECONDS = 60
_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""What is lost with the power is not tested here."""


@dataclass(frozen=True)
class Database:
    """An empty database of its own, and how Dagster and others reach it."""

    name: str
    port: int
    password: str = field(repr=False)

    @property
    def storage(self) -> Mapping[str, Any]:
        """The section `storage` of a `dagster.yaml`, as the documentation has it."""
        return {
            "postgres": {
                "postgres_db": {
                    "username": USER,
                    "password": self.password,
                    "hostname": "127.0.0.1",
                    "port": self.port,
                    "db_name": self.name,
                    "scheme": "postgresql+psycopg2",
                }
            }
        }

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return _execute(self, statement)

    def size(self) -> int:
        """Bytes of all tables and indexes, what has been deleted and not yet reused among them."""
        [(size,)] = self.query("SELECT pg_database_size(current_database())")
        return size

    def content(self) -> str:
        """Every row of every table."""
        table = "query_to_xml('SELECT * FROM ' || quote_ident(tablename), true, false, '')"
        return "".join(
            rows for (rows,) in self.query(f"SELECT {table}::text FROM pg_tables WHERE schemaname = 'public'")
        )


@dataclass
class Server:
    """A server on the loopback interface; its files are gone with it."""

    port: int
    password: str = field(repr=False)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def new_database(self) -> Database:
        """A database that nobody has used."""
        name = f"instance_{next(self._numbers)}"
        _execute(
            Database("postgres", self.port, self.password), sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        )
        return Database(name, self.port, self.password)


@contextmanager
def running_server() -> Iterator[Server]:
    """A server is there; afterwards it has ended, with all its files."""
    assert _BIN is not None, "install the system's `postgresql` package"
    # Not below pytest's folder, which nobody but its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="phi-postgres-"))
    server = Server(free_port(), secrets.token_urlsafe(16))
    password_file = folder / "password"
    password_file.write_text(server.password)
    as_user: list[str] = []
    if os.geteuid() == 0:
        user = pwd.getpwnam(_UNPRIVILEGED)
        for path in (folder, password_file):
            os.chown(path, user.pw_uid, user.pw_gid)
        as_user = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data = folder / "data"
    try:
        initdb = [
            _BIN / "initdb",
            "-D",
            data,
            "-U",
            USER,
            # Dagster's processes connect anew for each statement, and the default takes 4096 rounds at both ends.
            "--auth=md5",
            "--pwfile",
            password_file,
            "--no-sync",
        ]
        subprocess.run(["setpriv", *as_user, *initdb], check=True, capture_output=True, cwd=folder)
        settings = [
            f"port={server.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={folder}",
            "max_connections=200",
            *_FAST,
        ]
        options = [part for setting in settings for part in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            # It does not outlive the tests, however they end. Another change of its user would undo that.
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig=QUIT", *as_user, _BIN / "postgres", "-D", data, *options],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            until(
                lambda: _is_ready(server, process) or None,
                _START_SECONDS,
                f"PostgreSQL does not start: {(folder / 'log')}",
            )
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()
    finally:
        shutil.rmtree(folder)


def _is_ready(server: Server, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"PostgreSQL has ended with exit code {process.returncode}"
    if not is_listening(server.port):
        return False
    try:
        _execute(Database("postgres", server.port, server.password), "SELECT 1")
    except psycopg2.OperationalError:  # it listens before it answers
        return False
    return True


def _execute(database: Database, statement: str | sql.Composable) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(
        host="127.0.0.1", port=database.port, user=USER, password=database.password, dbname=database.name
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
