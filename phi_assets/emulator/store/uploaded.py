"""Whether the files of blobs still are what was uploaded."""

import base64
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from phi_assets.emulator.store.state import Document, Store


def damaged(store: Store, root: Path, path: Path) -> Iterator[Path]:
    """Files below `root/<container>`, at this path or below it, that are not what was uploaded.

    One that came in blocks is known by its size and its time only.
    """
    for _, file, document in _uploaded(store, root, path):
        if file.is_file() and (_is_rewritten(file, document) or document.get("content_md5") not in {None, _md5(file)}):
            yield file


def accept(store: Store, root: Path, path: Path) -> None:
    """What a job has written at this path or below it is what the blobs are from now on."""
    for key, file, document in _uploaded(store, root, path):
        if file.is_file() and _is_rewritten(file, document):
            store.delete("blob", key)


def _uploaded(store: Store, root: Path, path: Path) -> Iterator[tuple[str, Path, Document]]:
    if path.is_relative_to(root):
        for key, document in store.items("blob", path.relative_to(root).as_posix()):
            file = root / key
            if file == path or path in file.parents:
                yield key, file, document


def _is_rewritten(file: Path, document: Document) -> bool:
    status = file.stat()
    # Documents of earlier versions say less.
    kept = document.get("size", status.st_size), document.get("mtime_ns", status.st_mtime_ns)
    return kept != (status.st_size, status.st_mtime_ns)


def _md5(file: Path) -> str:
    status = file.stat()
    return _md5_of(file, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _md5_of(file: Path, *_: int) -> str:
    """In base64; read again only when somebody has written the file."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()
