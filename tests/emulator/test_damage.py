"""Small files that somebody damaged: each is named with the cure, by every command, and none of them opens anything."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from phi_assets.emulator import process, small_files
from phi_assets.emulator.process import EmulatorError
from phi_assets.emulator.store.state import Store
from tests.emulator.http import arm_client, raw_client

KEYS = ("signing.key", "identity.key", "control.key", "storage.key")
NAMED = {
    **{f"{key} {how}": (key, content) for key in KEYS for how, content in (("emptied", b""), ("cut off", b"ab"))},
    "storage.key other": ("storage.key", b"!" * 88),
    "control.key other": ("control.key", b"z" * 64),
    "emulator.json": ("emulator.json", b'{"pid": 1'),
    "emulator.json without fields": ("emulator.json", b"{}"),
    "port": ("port", b"x"),
    "ca.pem": ("tls/ca.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    "server.pem": ("tls/server.pem", b"x"),
    "state.sqlite emptied": ("state.sqlite", b""),
    "state.sqlite other": ("state.sqlite", b"x" * 5000),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an emulator that ran and was stopped, with one cluster in it."""
    directory = tmp_path_factory.mktemp("whole") / "emulator"
    running = process.ensure_running(directory)
    state = (directory / "emulator.json").read_bytes()
    with arm_client(running) as client:
        body = {"properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC6s_v3"}}}
        client.put("/computes/kept", json=body).raise_for_status()
    process.stop(directory)
    (directory / "emulator.json").write_bytes(state)  # as after a crash
    return directory


@pytest.fixture
def directory(whole: Path, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "emulator"
    shutil.copytree(whole, path)
    yield path
    shutil.rmtree(path)


def test_nothing_is_wrong_with_a_whole_folder(whole: Path, tmp_path: Path) -> None:
    assert small_files.damages(whole) == []
    assert small_files.damages(tmp_path / "nowhere") == []


@pytest.mark.parametrize(("name", "content"), NAMED.values(), ids=NAMED)
def test_a_damaged_file_is_named_with_the_cure(directory: Path, name: str, content: bytes) -> None:
    (directory / name).write_bytes(content)
    (found,) = small_files.damages(directory)
    assert found.startswith(f"{directory / name} is damaged: ")
    assert any(word in found for word in ("Delete", "delete"))
    with pytest.raises(EmulatorError, match="is damaged"):
        process.ensure_running(directory)


@pytest.mark.parametrize("command", ["serve", "status", "stop", "env"])
def test_every_command_says_it(directory: Path, command: str) -> None:
    (directory / "control.key").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "phi_assets.emulator", command, "--directory", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"{directory / 'control.key'} is damaged: it has 0 bytes" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_running_emulator_whose_files_are_damaged_says_so_and_lets_nobody_in(tmp_path: Path) -> None:
    directory = tmp_path / "emulator"
    running = process.ensure_running(directory)
    try:
        for key in KEYS:
            (directory / key).write_bytes(b"")
        with raw_client(running) as client:
            for credential in ("Bearer", "Bearer x", "Basic Og=="):
                answer = client.get("/_control/journal", headers={"Authorization": credential})
                assert answer.status_code == 401
        state = (directory / "emulator.json").read_bytes()
        (directory / "emulator.json").write_bytes(state[:50])
        for act in (process.status, process.stop, process.ensure_running):
            with pytest.raises(EmulatorError, match=r"emulator\.json is damaged.*Stop the server"):
                act(directory)
        (directory / "emulator.json").write_bytes(state)
        authority = (directory / "tls" / "ca.pem").read_bytes()
        (directory / "tls" / "ca.pem").write_bytes(authority[:100])
        with pytest.raises(EmulatorError, match=r"ca\.pem is damaged"):
            process.status(directory)
        (directory / "tls" / "ca.pem").write_bytes(authority)
    finally:
        assert process.stop(directory)
    with pytest.raises(httpx.ConnectError), raw_client(running) as client:
        client.get("/healthz")


def test_a_workspace_that_lost_its_database_is_not_silently_empty(directory: Path) -> None:
    (directory / "state.sqlite").unlink()
    with pytest.raises(EmulatorError, match=r"state\.sqlite is missing, and the workspace would be empty"):
        process.ensure_running(directory)


def test_the_cure_cures(directory: Path) -> None:
    for key in KEYS:
        (directory / key).write_bytes(b"")
    (directory / "tls" / "server.pem").write_bytes(b"")
    for key in KEYS:
        (directory / key).unlink()
    shutil.rmtree(directory / "tls")
    running = process.ensure_running(directory)
    try:
        with arm_client(running) as client:
            assert client.get("/computes/kept").status_code == 200
    finally:
        process.stop(directory)


def test_a_workspace_that_lost_its_log_is_not_silently_empty(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from phi_assets.emulator.store.state import Store;"
        "store = Store(Path(sys.argv[1])); store.put('kind', 'key', {}); os._exit(9)"
    )
    database = tmp_path / "state.sqlite"
    subprocess.run([sys.executable, "-c", code, str(database)], check=False, timeout=60)
    assert small_files.damages(tmp_path) == []
    log = tmp_path / "state.sqlite-wal"
    content = log.read_bytes()
    for lost in (lambda: log.write_bytes(content[:-1]), lambda: log.write_bytes(b""), log.unlink):
        lost()
        (found,) = small_files.damages(tmp_path)
        assert "state.sqlite-wal is missing or cut off" in found
        assert "state.open" in found
    log.write_bytes(content)
    with contextlib.closing(sqlite3.connect(database)) as another:  # which takes the log up, and removes it
        assert another.execute("SELECT count(*) FROM documents").fetchone() == (1,)
    assert (small_files.damages(tmp_path), log.exists()) == ([], False)
    store = Store(database)
    assert store.get("kind", "key") == {}
    store.close()
    assert (small_files.damages(tmp_path), log.exists()) == ([], False)
    del store
    Store(database).put("kind", "key", {"a": 1})  # forgotten without a word, as when a start fails
    assert small_files.damages(tmp_path) == []
