"""Places that hold files by name: a local folder, or what `fsspec` reaches by a URL."""

import importlib.util
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from phi_assets.dataset.errors import DatasetError
from phi_assets.redaction import without_secrets

_LIBRARIES = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
"""What reads a protocol, and this package's extra that brings it."""

_APPEARS_WHOLE = frozenset(_LIBRARIES)
"""Protocols of stores in which an object appears when its upload is complete, and not before.

<https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel>,
<https://cloud.google.com/storage/docs/consistency>
"""

_PIECE = 4 << 20


@dataclass(frozen=True)
class Stat:
    """A file of a place."""

    name: str
    size: int
    """Bytes."""
    version: str
    """A text that changes when the file does: its ETag or its time."""


class Place(Protocol):
    """Where files lie by name. Whatever fails is a `DatasetError` that says where, and shows no secret."""

    url: str
    """For people: a path or a URL, which opens nothing."""

    def stat(self, name: str) -> Stat | None:
        """The file, or None where no file has this name; the empty name is the place itself, which may be a file."""
        ...

    def list(self, folder: str) -> list[Stat]:
        """All files below that folder, also in folders of it; none where there is no such folder."""
        ...

    def put(self, name: str, source: BinaryIO) -> None:
        """The name holds what `source` has, whole; until then it holds what it held. Nothing is left of a killed one
        under the name."""
        ...

    def get(self, name: str, target: BinaryIO) -> None:
        """`target` has the file's bytes."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The file, to be read from wherever the reader seeks, no more of it than is read."""
        ...


class FsspecPlace:
    """A `Place` by a path, or by a URL whose protocol `fsspec` knows; credentials are found by the protocol's library.

    A store whose objects appear when their upload is complete takes a file under its name; every other file system
    takes it under a temporary name, and then moves it.
    """

    def __init__(self, root: str) -> None:
        self.url = root.rstrip("/")
        self._protocol = urlsplit(root).scheme if "://" in root else "file"

    def stat(self, name: str) -> Stat | None:
        with self._in_words("looked at"):
            try:
                # Instances remember what they have listed.
                self._system.invalidate_cache()
                info = self._system.info(self._path(name))
                return None if info.get("type") == "directory" else self._stat(name, info)
            except FileNotFoundError:
                return None

    def list(self, folder: str) -> list[Stat]:
        with self._in_words("listed"):
            try:
                self._system.invalidate_cache()
                found = self._system.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return []
            root = len(self._path("x")) - 1
            return [self._stat(path[root:], info) for path, info in sorted(found.items())]

    def put(self, name: str, source: BinaryIO) -> None:
        final = self._path(name)
        written = final if self._protocol in _APPEARS_WHOLE else self._path(_beside(name))
        with self._in_words("written"):
            if written != final:
                self._system.makedirs(final.rpartition("/")[0], exist_ok=True)
            try:
                self._upload(written, source)
                if written != final:
                    self._system.mv(written, final)
            except BaseException:
                if written != final:
                    with suppress(Exception):
                        self._system.rm_file(written)
                raise
            self._system.invalidate_cache()

    def get(self, name: str, target: BinaryIO) -> None:
        with self._in_words("read"), self.open(name) as source:
            while piece := source.read(_PIECE):
                target.write(piece)

    def open(self, name: str) -> BinaryIO:
        with self._in_words("read"):
            return self._system.open(self._path(name), "rb", cache_type="none")

    def _upload(self, path: str, source: BinaryIO) -> None:
        target = self._system.open(path, "wb")
        try:
            while piece := source.read(_PIECE):
                target.write(piece)
            target.close()
        except BaseException:
            if self._protocol in _APPEARS_WHOLE:
                # Closed, even by the collector of garbage, it would be an object with what has been written so far.
                with suppress(Exception):
                    target.discard()
                target.closed = True
            else:
                with suppress(Exception):
                    target.close()
            raise

    @property
    def _system(self) -> Any:
        library, extra = _LIBRARIES.get(self._protocol, ("fsspec", ""))
        if importlib.util.find_spec(library) is None:
            raise DatasetError(f"{self.url} needs the library {library}: pip install 'phi_assets[{extra}]'")
        import fsspec

        try:
            return fsspec.filesystem(self._protocol)
        except (ImportError, ValueError) as error:
            raise DatasetError(f"{self.url} cannot be reached: {error}") from error

    def _path(self, name: str) -> str:
        root = os.path.abspath(self.url.removeprefix("file://")) if self._protocol == "file" else self.url
        return self._system._strip_protocol(f"{root}/{name}" if name else root)

    @staticmethod
    def _stat(name: str, info: Any) -> Stat:
        keys = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
        said = next((info[key] for key in keys if info.get(key)), "")
        # One and the same file system says a time in two ways.
        version = said.timestamp() if isinstance(said, datetime) else said
        return Stat(name, int(info["size"] or 0), str(version))

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        with in_words(self.url, what, disk=self._protocol == "file"):
            yield


@contextmanager
def in_words(url: str, what: str, *, disk: bool = False) -> Iterator[None]:
    """What happens inside reads or writes at `url`; every library has errors of its own.

    Raises:
        DatasetError: it failed. What this machine's own disk says passes as it is.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        if disk and isinstance(error, OSError):
            raise
        said = without_secrets(" ".join(str(error).split()))[:500]
        raise DatasetError(f"{url} cannot be {what} ({type(error).__name__}: {said})") from error


def _beside(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return f"{folder}{'/' if folder else ''}.{last}.{os.getpid()}.{secrets.token_hex(4)}.partial"


def write_text(place: Place, name: str, content: str) -> None:
    """The name holds this text, whole."""
    place.put(name, io.BytesIO(content.encode()))


def read_bytes(place: Place, name: str) -> bytes | None:
    """What the name holds; None where there is nothing."""
    if place.stat(name) is None:
        return None
    with place.open(name) as file:
        return file.read()
