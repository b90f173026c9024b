"""Whether the files of blobs still are what was uploaded."""

import base64
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from phi_assets.emulator.store.state import Document, Store


def damaged(store: Store, root: Path, path: Path) -> Iterator[Path]:
    """Files below `root/<container>`, at this path or below it, that are not what was uploaded.

    One that came in blocks is known by its size only. Times say nothing: a copy of the folder may have others.
    """
    return (file for _, file in _damaged(store, root, path))


def accept(store: Store, root: Path, path: Path) -> None:
    """What a job has written at this path or below it is what the blobs are from now on."""
    for key, _ in list(_damaged(store, root, path)):
        store.delete("blob", key)


def _damaged(store: Store, root: Path, path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_relative_to(root):
        return
    for key, document in store.items("blob", path.relative_to(root).as_posix()):
        file = root / key
        if (file == path or path in file.parents) and file.is_file() and not _is_as_uploaded(file, document):
            yield key, file


def _is_as_uploaded(file: Path, document: Document) -> bool:
    size = file.stat().st_size
    return document.get("size", size) == size and document.get("content_md5") in {None, _md5(file)}


def _md5(file: Path) -> str:
    status = file.stat()
    return _md5_of(file, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _md5_of(file: Path, *_: int) -> str:
    """In base64; read again only when somebody has written the file."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()
