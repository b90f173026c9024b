"""The files at a URL, as a folder that can be looked through like one on the disk."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Self

from phi_assets.dataset.files.storage import DataStorage
from phi_assets.refs import DataFile


class Listed:
    """A file or a folder of those that were listed at a URL; has what `pathlib.Path` calls the same."""

    def __init__(self, url: str, files: Mapping[str, DataFile], path: str = "") -> None:
        self._url = url
        self._files = files
        self._path = path

    @classmethod
    def at(cls, url: str, storage: DataStorage) -> Self:
        """What lies at the URL now.

        Raises:
            DatasetError: the place cannot be read.
        """
        return cls(*storage.files_at(url))

    @property
    def name(self) -> str:
        return PurePosixPath(str(self)).name

    @property
    def file(self) -> DataFile:
        """The file itself."""
        return self._files[self._path]

    def is_file(self) -> bool:
        return self._path in self._files

    def is_dir(self) -> bool:
        return not self.is_file() and any(True for _ in self._below())

    def exists(self) -> bool:
        return bool(self._files)

    def glob(self, pattern: str) -> list["Listed"]:
        """What matches, part by part; no more is asked for than `*` and `*=*/*`."""
        parts = pattern.split("/")
        found = {"/".join(rest[: len(parts)]) for rest in self._below() if len(rest) >= len(parts)}
        matching = (each for each in found if all(map(fnmatchcase, each.split("/"), parts)))
        return sorted(self / each for each in matching)

    def relative_to(self, other: "Listed") -> str:
        return self._path.removeprefix(other._path).strip("/")

    def _below(self) -> Iterator[list[str]]:
        prefix = f"{self._path}/" if self._path else ""
        for path in self._files:
            if path and path.startswith(prefix):
                yield path.removeprefix(prefix).split("/")

    def __truediv__(self, path: str) -> "Listed":
        return Listed(self._url, self._files, f"{self._path}/{path}".strip("/"))

    def __lt__(self, other: "Listed") -> bool:
        return self._path.split("/") < other._path.split("/")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listed) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return f"{self._url}/{self._path}".rstrip("/")
