"""Where the project's data lies, `PHI_DATA`, and what of it is on this machine."""

import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from filelock import FileLock

from phi_assets.config.urls import is_url
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.disk import room_in
from phi_assets.dataset.files.places import FsspecPlace, Place, Stat
from phi_assets.fingerprint import file_sha256, fingerprint
from phi_assets.refs import DataFile, Ref

R = TypeVar("R", bound=Ref)

_HASH_DIGITS = 32
"""Of a file's SHA-256, in its name."""

_PROBE = ".can-be-written"

_BROUGHT = "brought"
"""First part of the names of files that were made outside the project's folder."""


@dataclass(frozen=True)
class DataStorage:
    """The files that refs name: in a local folder, or at a URL with a local folder as the cache of this machine.

    In a local folder they stay where they were written, and keep their names. At a URL each is named by its content,
    `<kind>/<start of its SHA-256>/<file name>`, so that nothing that is there is ever overwritten by something else.
    """

    root: str
    """`PHI_DATA`: a path or a URL."""
    folder: Path
    """What is made on this machine lies here: the root itself where that is local."""
    places: Callable[[str], Place] = FsspecPlace
    """Opens a place by its URL."""

    @classmethod
    def local(cls, folder: Path) -> "DataStorage":
        """A folder on this machine's disk."""
        return cls(str(folder), folder)

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder on this machine's disk."""
        return not is_url(self.root)

    def keep(self, ref: R) -> R:
        """The same ref, whose files any machine finds that has this `PHI_DATA`; all of them are there, read back.

        What is there already is not sent again. A local file stays where it is.

        Raises:
            DatasetError: a file cannot be read, or the place does not take it.
        """
        kept: dict[str, Any] = {}
        for field in type(ref).model_fields:
            value = getattr(ref, field)
            if isinstance(value, DataFile) and value:
                kept[field] = self._keep(value)
            elif isinstance(value, tuple) and any(isinstance(each, DataFile) for each in value):
                kept[field] = tuple(map(self._keep, value))
        return ref.model_copy(update=kept)

    def fetch(self, file: DataFile) -> Path:
        """The file on this machine's disk; one that lies at a URL is fetched once, and its hash is looked at.

        Raises:
            DatasetError: it cannot be fetched, or is not what it was.
        """
        if os.path.isabs(file.name):
            return Path(file.name)
        if is_url(file.name):
            return self._fetch_of_url(file)
        path = self.folder / _inside(file.name)
        if self.is_local or _has_size(path, file):
            return path
        if not file.sha256:
            raise DatasetError(
                f"{file.name} was made where PHI_DATA was a folder on one machine, and is not at {self.root}: "
                "materialize its asset again"
            )
        with room_in(self.folder), self._alone(path):
            if not _has_size(path, file):
                self._fetch(file, path)
        return path

    def where(self, file: DataFile) -> str:
        """Where it lies, for people."""
        if os.path.isabs(file.name) or is_url(file.name):
            return file.name
        return str(self.folder / file.name) if self.is_local else f"{self._place.url}/{file.name}"

    def file_at(self, where: str) -> DataFile:
        """The file that `where` said this of. What names no content is the state that it is in now."""
        root = "" if self.is_local else f"{self._place.url}/"
        if not root or not where.startswith(root):
            return DataFile.at(where).kept_by(self)
        name = where.removeprefix(root)
        digits = PurePosixPath(name).parent.name
        if len(digits) == _HASH_DIGITS:
            return DataFile(name=name, sha256=digits).kept_by(self)
        found = self._place.stat(_inside(name))
        now = {"size": found.size, "version": found.version} if found else {}
        return DataFile(name=where, **now).kept_by(self)

    def is_there(self, file: DataFile) -> bool:
        """Whether the file lies where it was put, in its size; nothing is fetched."""
        if not file:
            return False
        if is_url(file.name):
            found = self._stat_of_url(file.name)
            return found is not None and (found.size, found.version) == (file.size, file.version)
        if self.is_local or os.path.isabs(file.name):
            return _has_size(self.fetch(file), file)
        found = self._place.stat(_inside(file.name))
        return found is not None and file.size in (None, found.size)

    def readable(self, file: DataFile) -> Path | BinaryIO:
        """What reads the file where it lies; one that is on this machine already is read there.

        Raises:
            DatasetError: it cannot be read.
        """
        if is_url(file.name):
            place, name = self._place_of_url(file.name)
            return place.open(name)
        if self.is_local or os.path.isabs(file.name) or _has_size(self.folder / _inside(file.name), file):
            return self.fetch(file)
        return self._place.open(_inside(file.name))

    def files_at(self, url: str) -> tuple[str, dict[str, DataFile]]:
        """All files at a URL, by their paths below it, and the URL as the place itself says it; one file has no path.

        Raises:
            DatasetError: the place cannot be read.
        """
        place = self.places(url)
        alone = place.stat("")
        found = [alone] if alone is not None else place.list("")
        return place.url, {
            each.name: DataFile(
                name=f"{place.url}/{each.name}".rstrip("/"), size=each.size, version=each.version
            ).kept_by(self)
            for each in found
        }

    def share(self, folder: Path) -> str:
        """The files of a folder of this machine lie where every machine finds them; says where, a path or a URL.

        Raises:
            DatasetError: the place does not take them.
        """
        if self.is_local:
            return str(folder)
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        content = fingerprint({name: file_sha256(path) for name, path in files.items()})
        shared = f"{_BROUGHT}/{content[:_HASH_DIGITS]}"
        for name, path in files.items():
            self._send(path, f"{shared}/{name}")
        return f"{self._place.url}/{shared}"

    def recall(self, path: Path) -> None:
        """`path`, below the folder, has what was saved under its name last, where anything was.

        Raises:
            DatasetError: the place cannot be read.
        """
        if self.is_local:
            return
        name = path.relative_to(self.folder).as_posix()
        if self._place.stat(name) is not None:
            with self._alone(path):
                self._write(path, lambda target: self._place.get(name, target))

    def save(self, path: Path) -> None:
        """What `path`, below the folder, holds is saved under its name, in place of what was.

        Raises:
            DatasetError: the place does not take it.
        """
        if not self.is_local:
            with path.open("rb") as source:
                self._place.put(path.relative_to(self.folder).as_posix(), source)

    def problem(self) -> str:
        """Why nothing can be kept here, for people; empty where an empty file could be."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _PROBE).write_bytes(b"")
            (self.folder / _PROBE).unlink(missing_ok=True)
            if not self.is_local:
                self._place.put(_PROBE, io.BytesIO())
                if not _is_at(self._place, _PROBE, 0):
                    return f"PHI_DATA cannot be used: what was written to {self.root} cannot be read back"
        except (DatasetError, OSError) as error:
            return f"PHI_DATA cannot be written: {error}"
        return ""

    @property
    def _place(self) -> Place:
        return self.places(self.root)

    def _keep(self, file: DataFile) -> DataFile:
        if not os.path.isabs(file.name) or is_url(file.name):
            return file.kept_by(self)
        path = Path(file.name)
        if self.is_local:
            name = path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else file.name
            return DataFile(name=name, size=path.stat().st_size, sha256=file.sha256).kept_by(self)
        sha256, size = file_sha256(path), path.stat().st_size
        is_ours = path.is_relative_to(self.folder)
        kind = path.relative_to(self.folder).parts[0] if is_ours else _BROUGHT
        name = f"{kind}/{sha256[:_HASH_DIGITS]}/{path.name}"
        self._send(path, name)
        if is_ours:
            # One of its own would be fetched again.
            with suppress(OSError):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(path.resolve(), self.folder / name)
        return DataFile(name=name, size=size, sha256=sha256).kept_by(self)

    def _send(self, path: Path, name: str) -> None:
        """The name, which says the content, holds it, read back; it is not sent again."""
        size = path.stat().st_size
        if not _is_at(self._place, name, size):
            with path.open("rb") as source:
                self._place.put(name, source)
            if not _is_at(self._place, name, size):
                raise DatasetError(f"{name} was written to {self._place.url}, and is not there: run again")

    def _place_of_url(self, url: str) -> tuple[Place, str]:
        folder, _, name = url.rpartition("/")
        return self.places(folder), name

    def _stat_of_url(self, url: str) -> Stat | None:
        place, name = self._place_of_url(url)
        return place.stat(name)

    def _fetch_of_url(self, file: DataFile) -> Path:
        """The state of the file that is meant, below `fetched`."""
        path = self.folder / "fetched" / fingerprint([file.name, file.version, file.size])[:16] / Path(file.name).name

        def prove_unchanged() -> None:
            if not self.is_there(file):
                raise DatasetError(f"{file.name} has changed or gone since it was looked at: run again")

        def write(target: BinaryIO) -> None:
            place, name = self._place_of_url(file.name)
            place.get(name, target)
            # Some places send the rest of another state.
            prove_unchanged()

        with room_in(self.folder), self._alone(path):
            if not _has_size(path, file):
                prove_unchanged()
                self._write(path, write)
        return path

    def _fetch(self, file: DataFile, path: Path) -> None:
        def write(target: BinaryIO) -> None:
            hashed = _Hashed(target)
            self._place.get(_inside(file.name), hashed)  # type: ignore[arg-type]
            if not hashed.sha256.startswith(file.sha256) or file.size not in (None, hashed.size):
                raise DatasetError(
                    f"{self.where(file)} is not what it was ({hashed.size:,} bytes, SHA-256 {hashed.sha256[:12]}; "
                    f"expected {file.sha256[:12]}): materialize its asset again"
                )

        self._write(path, write)

    def _write(self, path: Path, write: Callable[[BinaryIO], None]) -> None:
        """The file is there whole, or as it was; the caller is `_alone` with it.

        What a process leaves behind that is killed meanwhile is overwritten by the next one.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as target:
                write(target)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _alone(self, path: Path) -> FileLock:
        locks = self.folder / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / fingerprint(path.relative_to(self.folder).as_posix())[:16])


class _Hashed:
    """Passes bytes on, and knows their number and SHA-256."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, piece: bytes, /) -> int:
        self._digest.update(piece)
        self.size += len(piece)
        return self._target.write(piece)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _is_at(place: Place, name: str, size: int) -> bool:
    found = place.stat(name)
    return found is not None and found.size == size


def _has_size(path: Path, file: DataFile) -> bool:
    return path.is_file() and file.size in (None, path.stat().st_size)


def _inside(name: str) -> str:
    """The name, which leads nowhere else.

    Raises:
        DatasetError: it does.
    """
    if ".." in PurePosixPath(name).parts:
        raise DatasetError(f"{name} is no name of a file of the project's data")
    return name
