"""Conversations that somebody hands over, as a table or as the place of files, become a folder like any other."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from phi_assets.config.urls import is_url
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.files.write import staging
from phi_assets.fingerprint import file_sha256, fingerprint

_WANTED = "the path or the URL of files, or a polars, pandas or pyarrow table"


def folder_with(value: object, directory: Path, storage: DataStorage | None = None) -> Path:
    """The folder that holds what was handed over; the same value gives the same folder. `storage` knows URLs.

    A local folder is used where it lies, and so is a file, which a link in a folder below `directory` leads to. A table
    is written there as Parquet, and files at a URL are copied there, both named by content.

    Raises:
        DatasetError: nothing is at that place, the table is empty, or the value is something else.
    """
    if isinstance(value, str | os.PathLike):
        return _of_place(str(value), directory, storage or DataStorage.local(directory))
    table = _as_polars(value)
    if table is None:
        raise DatasetError(f"A {type(value).__name__} was handed over as training data: {_WANTED} is needed")
    if table.is_empty():
        raise DatasetError("An empty table was handed over as training data")
    with _scratch(directory, "table") as scratch:
        table.write_parquet(scratch / "conversations.parquet")
        return _kept(scratch, directory)


def _of_place(place: str, directory: Path, storage: DataStorage) -> Path:
    if is_url(place) or place.startswith("file://"):
        return _copied(place, directory, storage)
    path = Path(place).expanduser().resolve()
    if path.is_dir():
        return path
    if not path.is_file():
        raise DatasetError(f"{path} was handed over as training data, and nothing is there")
    folder = directory / fingerprint(str(path))[:12]
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / path.name
    if not link.exists():
        link.symlink_to(path)
    return folder


def _copied(url: str, directory: Path, storage: DataStorage) -> Path:
    failed = f"What was handed over as training data cannot be read from {url}"
    with _scratch(directory, fingerprint(url)[:12]) as scratch:
        try:
            place = storage.places(url)
            alone = place.stat("")
            names = [""] if alone else [each.name for each in place.list("") if "/" not in each.name]
            for name in names:
                with (scratch / (name or PurePosixPath(url).name)).open("wb") as copy:
                    place.get(name, copy)
        except (DatasetError, OSError) as error:
            raise DatasetError(f"{failed}: {error}") from error
        if not names:
            raise DatasetError(f"{failed}: nothing is there")
        return _kept(scratch, directory)


@contextmanager
def _scratch(directory: Path, name: str) -> Iterator[Path]:
    """A folder of the moment, beside those that are kept; see `staging`."""
    directory.mkdir(parents=True, exist_ok=True)
    with staging(directory.parent, f"{directory.name}-{name}") as staged:
        files = staged / "files"
        files.mkdir()
        yield files


def _kept(scratch: Path, directory: Path) -> Path:
    """The files lie in a folder that is named by their content."""
    content = {path.name: file_sha256(path) for path in sorted(scratch.iterdir())}
    folder = directory / fingerprint(content)[:12]
    if folder.is_dir() and _sizes(folder) != _sizes(scratch):
        shutil.rmtree(folder)
    try:
        scratch.rename(folder)
    except OSError:
        # One that is there has the same content; somebody else may just have been as quick.
        if not folder.is_dir():
            raise
    return folder


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def _as_polars(value: Any) -> Any:
    import polars as pl

    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if isinstance(value, pl.DataFrame):
        return value
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if kind.startswith("pandas.") and type(value).__name__ == "DataFrame":
        return pl.from_pandas(value)
    if kind.startswith("pyarrow.") and type(value).__name__ == "Table":
        return pl.from_arrow(value)
    return None
