"""The small files of an emulator's folder: which of them are damaged, and what is to be done.

Imported by whoever looks at the folder, so it imports nothing of the server.
"""

import base64
import json
import re
import ssl
from collections.abc import Callable
from pathlib import Path

from phi_assets.emulator import write_ahead_log
from phi_assets.emulator.folder import is_served

STATE_FILE = "emulator.json"
PORT_FILE, STUDIO_PORT_FILE = "port", "studio-port"
SIGNING_KEY_FILE, IDENTITY_KEY_FILE = "signing.key", "identity.key"
CONTROL_KEY_FILE = "control.key"
"""The token of the control plane, as hexadecimal digits, readable by its owner only."""
STORAGE_KEY_FILE = "storage.key"
DATABASE_FILE = "state.sqlite"
OPEN_FILE = "state.open"
"""There from the first write of a server until it has stopped in order: as long, the database has a log beside it.

It holds, as decimal digits, how many bytes that log has had, and the database's `user_version` since it was opened.
"""

SECRET_BYTES, STORAGE_KEY_BYTES = 32, 64

_STATE_FIELDS = {
    "id": str,
    "pid": int,
    "process_created": float,
    "base_url": str,
    "identity_header": str,
    "subscription_id": str,
    "resource_group": str,
    "workspace_name": str,
}
_ANEW = "Delete it: the next start makes a new one, and what the old one has signed is refused."


def read_state(directory: Path) -> dict | None:
    """What the server has written about itself; None if there is nothing.

    Raises:
        ValueError: it cannot be read; the message says why.
    """
    try:
        state = json.loads((directory / STATE_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(state, dict):
        raise ValueError("it holds no object")
    wrong = [name for name, kind in _STATE_FIELDS.items() if not isinstance(state.get(name), kind)]
    if wrong:
        raise ValueError(f"it has no valid {', '.join(wrong)}")
    return state


def check_secret(content: bytes, *, in_hex: bool = False) -> None:
    """Raises ValueError for what is no secret of ours: one that is empty or short would open what it is to close."""
    wanted = SECRET_BYTES * 2 if in_hex else SECRET_BYTES
    if len(content) != wanted:
        raise ValueError(f"it has {len(content)} bytes, not {wanted}")
    if in_hex and not re.fullmatch(rb"[0-9a-f]+", content):
        raise ValueError("it has other characters than hexadecimal digits")


def check_storage_key(content: bytes) -> None:
    """Raises ValueError for what is no key of a storage account."""
    key = base64.b64decode(content.strip(), validate=True)
    if len(key) != STORAGE_KEY_BYTES:
        raise ValueError(f"it is a key of {len(key)} bytes, not {STORAGE_KEY_BYTES}")


def damages(directory: Path) -> list[str]:
    """One sentence for each file that is damaged: its name, what is wrong with it, and the cure."""
    found: list[str] = []

    def look(name: str, check: Callable[[Path], object], cure: str) -> None:
        path = directory / name
        if path.is_file():
            try:
                check(path)
            except (ValueError, ssl.SSLError) as error:
                reason = (error.reason or "it cannot be read") if isinstance(error, ssl.SSLError) else error
                found.append(f"{path} is damaged: {reason}. {cure}")

    look(STATE_FILE, lambda _: read_state(directory), "Stop the server that serves this folder, and delete the file.")
    for name in (PORT_FILE, STUDIO_PORT_FILE):
        look(name, _check_port, "Delete it: the next start chooses another port.")
    for name in (SIGNING_KEY_FILE, IDENTITY_KEY_FILE):
        look(name, lambda path: check_secret(path.read_bytes()), _ANEW)
    look(CONTROL_KEY_FILE, lambda path: check_secret(path.read_bytes().strip(), in_hex=True), _ANEW)
    look(STORAGE_KEY_FILE, lambda path: check_storage_key(path.read_bytes()), _ANEW)
    tls = "Stop the emulator, and delete the folder tls: the next start makes new certificates."
    look("tls/ca.pem", lambda path: ssl.create_default_context(cafile=str(path)), tls)
    look("tls/server.pem", _check_certificate, tls)
    if (directory / SIGNING_KEY_FILE).exists():  # else the first start was killed before it had made anything
        look(DATABASE_FILE, _check_database, f"Put a good copy in its place, or delete {directory} to begin anew.")
    if not (directory / DATABASE_FILE).exists() and (directory / SIGNING_KEY_FILE).exists():
        found.append(
            f"{directory / DATABASE_FILE} is missing, and the workspace would be empty. Put a copy in its place, or "
            f"delete {directory} to begin anew."
        )
    elif (directory / OPEN_FILE).exists() and not _has_log(directory):
        found.append(
            f"{directory / DATABASE_FILE}-wal is missing or cut off: what was written last is lost, maybe everything. "
            f"Put it back, or go on with what {DATABASE_FILE} has: delete {directory / OPEN_FILE}."
        )
    elif (directory / OPEN_FILE).exists() and not is_served(directory) and _is_log_damaged(directory):
        found.append(
            f"{directory / DATABASE_FILE}-wal is damaged: what was written last is lost, maybe everything. Put a good "
            f"copy of it in its place, or go on with what can be read: delete {directory / OPEN_FILE}."
        )
    return found


def _check_port(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    if not re.fullmatch(r"[0-9]{1,5}( \d+:\d+)?", text.strip()):
        raise ValueError("it holds no port")


def _check_certificate(path: Path) -> None:
    key = path.with_suffix(".key")
    if key.is_file():
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key)


def _check_database(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(16)
    # SQLite takes a file without content for a new database, and would show an empty workspace.
    if head != b"SQLite format 3\0":
        raise ValueError("it is empty" if not head else "it is no SQLite database")


def _has_log(directory: Path) -> bool:
    """Whether it is as long as it was; SQLite takes one that is cut off for what a crash has left.

    Another program that opens the database and closes it takes the log up into it, and removes it.
    """
    log = directory / f"{DATABASE_FILE}-wal"
    size = log.stat().st_size if log.is_file() else 0
    kept = re.fullmatch(rb"([0-9]{1,18}) ([0-9]{1,10})", (directory / OPEN_FILE).read_bytes().strip())
    if kept is None:
        return True  # the server was killed before it had written anything
    with (directory / DATABASE_FILE).open("rb") as file:
        version = int.from_bytes(file.read(64)[60:64])  # https://www.sqlite.org/fileformat.html#user_version_number
    return size >= int(kept[1]) or (size == 0 and version == int(kept[2]))


def _is_log_damaged(directory: Path) -> bool:
    log = directory / f"{DATABASE_FILE}-wal"
    return log.is_file() and write_ahead_log.is_damaged(log)
