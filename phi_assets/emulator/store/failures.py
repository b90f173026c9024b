"""What the operating system refuses to the emulator, in words: room, files, memory, threads."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.shortages import WANTED, shortage

NO_ROOM = "InsufficientStorage"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}
_DEFECTIVE = {errno.EIO}
_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    # It says no more than that a file could not be opened or written; the disk is the likeliest reason.
    sqlite3.SQLITE_CANTOPEN: errno.EMFILE,
    sqlite3.SQLITE_IOERR: errno.EIO,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def failure_of(error: BaseException, folder: Path) -> ServiceError | None:
    """The answer to a request that met this error below `folder`, or None for a defect of the emulator's own.

    507 `InsufficientStorage` for a disk that is full or cannot be written, 503 where descriptors, memory or
    threads are wanting, 500 `StateDamaged` for a database that cannot be read.
    """
    if isinstance(error, sqlite3.Error) and _code(error) in _DAMAGED:
        return ServiceError(500, "StateDamaged", damaged(folder / "state.sqlite", str(error)))
    number = _number(error)
    if number in _FULL:
        return ServiceError(507, NO_ROOM, f"The disk of {folder} is full. Make room there; nothing else is to be done.")
    if number in _UNWRITABLE:
        return ServiceError(507, NO_ROOM, f"{folder} cannot be written to ({error}). Make it writable.")
    if number in _DEFECTIVE:
        return ServiceError(507, NO_ROOM, f"The disk of {folder} does not take what is written ({error}).")
    wanting = WANTED.get(number or 0) or shortage(error)
    if wanting is not None:
        message = f"The machine has no more {wanting} for the emulator of {folder}. Nothing is damaged."
        return ServiceError(503, "ServiceUnavailable", message)
    return None


def is_no_room(error: BaseException) -> bool:
    """Whether it is a `failure_of` that goes away as soon as somebody makes room, or the disk writable."""
    return isinstance(error, ServiceError) and error.code == NO_ROOM


def damaged(file: Path, why: str) -> str:
    """How every command names a file that was damaged by others, and what is to be done."""
    return (
        f"{file} is damaged: {why}. Stop the emulator if it runs, and delete the file or put a good copy in its place. "
        f"To begin anew, delete {file.parent} as a whole."
    )


def _number(error: BaseException) -> int | None:
    if isinstance(error, shutil.Error):  # of the copy of a folder: it has the texts of many, and no number
        known = (*_FULL, *_UNWRITABLE, *_DEFECTIVE)
        return next((number for number in known if os.strerror(number) in str(error)), None)
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(_code(error))
    return None


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
