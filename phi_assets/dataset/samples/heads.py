"""The first rows of a split wherever its files lie, and how large it is: before anything is fetched or converted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.config.dataset import DatasetSection, Part
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.sources import hub
from phi_assets.dataset.sources.convert import Beginning, convert_beginning
from phi_assets.dataset.sources.hub_client import ask
from phi_assets.dataset.sources.local import folder_of, split_files
from phi_assets.dataset.sources.readers import container
from phi_assets.dataset.sources.schema import read_footer
from phi_assets.dataset.sources.tables import BYTE_ORDER_MARK, damage
from phi_assets.refs import DataFile, SplitRef

Log = Callable[[str], None]

_BEGINNING_BYTES = 4 << 20
"""As much of a text file that lies elsewhere is read."""
_WHOLE_BYTES = 64 << 20
"""A file elsewhere that cannot be read in part is read as a whole up to this size."""
_BEGINNING_ROWS = 200

_LINES = ("jsonl", "ndjson", "json")
_TABLES = ("csv", "tsv")


class UnreadInPartError(DatasetError):
    """Nothing is known of a file's rows until all of it has been fetched."""


@dataclass(frozen=True)
class Head:
    """What is known of a split by its first rows."""

    raw: SplitRef
    """The first rows of its first file, as conversations."""
    format: str
    columns: tuple[str, ...]
    files: int
    size_bytes: int
    """Of all its files."""
    rows: int | None
    """Of all of it; None where nobody can tell before all of it is read."""
    is_counted: bool
    """Whether `rows` was counted; it is estimated by the size of the first rows otherwise."""
    part: Part
    """Which of the rows are meant."""

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows of the split."""
        return self.is_counted and self.rows == self.raw.rows


@dataclass(frozen=True)
class _File:
    """A file of which at least the beginning lies on local disk."""

    path: Path
    rows: int | None = None
    """Of the whole file, where only its beginning is here and it says so."""
    is_cut: bool = False


@dataclass(frozen=True)
class _Place:
    """Where the files of a split lie."""

    origin: str
    part: Part
    sizes: Sequence[int]
    """Of each file, in bytes."""
    first: _File
    rows: int | None = None
    """Of all files, where each says how many it has."""


def head_of(
    dataset: DatasetSection, split: str, data_dir: Path, scratch: Path, log: Log, storage: DataStorage | None = None
) -> Head:
    """The first rows of a split, at most 200 or 512 kB, lie below `scratch`, a folder that does not exist yet.

    What has been downloaded to `data_dir` is read there. Of another file, on the hub or at a URL, the beginning is
    read: of Parquet a few pages, of lines of text 4 MB; another kind of file as a whole, unless it is larger than
    64 MB.

    Raises:
        UnreadInPartError: the rows are not known before all of them are fetched.
        DatasetError: the source cannot be reached, lacks the split or some of its files, or the first rows cannot be
            read as conversations.
    """
    scratch.mkdir(parents=True)
    try:
        if dataset.source == "hub":
            place = _on_hub(dataset, split, data_dir / "hub", scratch, log)
        else:
            place = _in_folder(dataset, split, scratch, storage)
        begun = convert_beginning(place.first.path, dataset, scratch / "converted", lambda _: None)
    except UnreadInPartError:
        raise
    except DatasetError as error:
        # By the name that a file has for its reader.
        raise DatasetError(str(error).replace(f"{scratch}/", "")) from error
    rows, is_counted = _rows(begun, place)
    return Head(
        raw=SplitRef(
            split=split,
            files=tuple(map(DataFile.at, begun.shards.files)),
            rows=begun.rows,
            size_bytes=sum(Path(shard).stat().st_size for shard in begun.shards.files),
            sha256="",
            source=place.origin,
            not_carried=dict(sorted(begun.shards.not_carried.items())),
            sources=begun.shards.sources,
        ),
        format=begun.format.name,
        columns=begun.columns,
        files=len(place.sizes),
        size_bytes=sum(place.sizes),
        rows=rows,
        is_counted=is_counted,
        part=place.part,
    )


def _rows(begun: Beginning, place: _Place) -> tuple[int | None, bool]:
    """Rows of all files, and whether they were counted."""
    first, size = place.first, sum(place.sizes)
    if place.rows is not None:
        return place.rows, True
    known = first.rows if first.is_cut else begun.rows_of_file
    if known is not None:
        return round(known * size / max(place.sizes[0], 1)), len(place.sizes) == 1
    if container(first.path).partition(".")[2]:
        # What is packed says nothing about its size.
        return None, False
    return round(begun.rows * size / max(begun.size, 1)), False


def _in_folder(dataset: DatasetSection, split: str, scratch: Path, storage: DataStorage | None) -> _Place:
    files, part = split_files(dataset, split, storage)
    origin = "bundled" if dataset.source == "bundled" else str(folder_of(dataset, storage))
    is_counted = all(container(file) == "parquet" for file in files)
    rows = sum(read_footer(file).num_rows for file in files) if is_counted else None
    first, sizes = files[0], [(file.size or 0) if isinstance(file, DataFile) else file.stat().st_size for file in files]
    if isinstance(first, DataFile):
        target = scratch / PurePosixPath(first.name).name
        begun = _beginning(first.readable(), target.name, sizes[0], target)
    else:
        begun = _File(first)
    return _Place(origin, part, sizes, begun, rows)


def _on_hub(dataset: DatasetSection, split: str, directory: Path, scratch: Path, log: Log) -> _Place:
    commit, names, part = hub.listed_files(dataset, split, directory, log)
    sizes = _sizes_on_hub(dataset.repo, commit, names, log)
    if (known := hub.downloaded(dataset.repo, commit, names[0], directory)) is not None:
        first = _File(known)
    else:
        first = ask(
            lambda: _beginning_on_hub(f"{dataset.repo}@{commit}", names[0], sizes[0], scratch / names[0]),
            dataset.repo,
            commit,
            scratch,
            log,
        )
    return _Place(f"{dataset.repo}@{commit}", part, sizes, first)


def _sizes_on_hub(repo: str, commit: str, names: Sequence[str], log: Log) -> list[int]:
    def get() -> list[int]:
        from huggingface_hub import HfApi

        found = HfApi().get_paths_info(repo, list(names), revision=commit, repo_type="dataset")
        sizes = {each.path: int(getattr(each, "size", 0)) for each in found}
        return [sizes.get(name, 0) for name in names]

    return ask(get, repo, commit, None, log)


def _beginning_on_hub(repository: str, name: str, size: int, target: Path) -> _File:
    from huggingface_hub import HfFileSystem

    # Its instances remember what they have listed.
    return _beginning(
        HfFileSystem(skip_instance_cache=True).open(f"datasets/{repository}/{name}", "rb"), name, size, target
    )


def _beginning(opened: Any, name: str, size: int, target: Path) -> _File:
    """The beginning of a file that lies elsewhere lies in `target`, or all of it where it cannot be cut."""
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = container(target)
    with opened as file:
        if kind == "parquet":
            with damage(target, (pa.ArrowException,)):
                return _File(target, _beginning_of_parquet(file, target), is_cut=True)
        content: Any = file.read(_BEGINNING_BYTES)
        if len(content) < size and (cut := _cut(content, kind)) is not None:
            target.write_bytes(cut)
            return _File(target, is_cut=True)
        if size > _WHOLE_BYTES:
            raise UnreadInPartError(
                f"{name} has {size / 1e6:,.0f} MB and cannot be read in part: its rows are unknown until it is fetched"
            )
        target.write_bytes(content + file.read())
    return _File(target)


def _beginning_of_parquet(file: Any, target: Path) -> int:
    """The first rows lie in `target`; how many there are in all."""
    with pq.ParquetFile(file, buffer_size=1 << 20) as source:
        with pq.ParquetWriter(target, source.schema_arrow) as writer:
            for batch in source.iter_batches(_BEGINNING_ROWS, row_groups=range(min(1, source.num_row_groups))):
                writer.write_batch(batch)
                break
        return source.metadata.num_rows


def _cut(content: bytes, kind: str) -> bytes | None:
    """The whole rows at the beginning of a text file; None where it cannot be told where one ends."""
    line, _, _ = content.partition(b"\n")
    is_row = line.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] == b"{" and line.rstrip()[-1:] == b"}"
    if not (kind in _TABLES or (kind in _LINES and is_row)):
        return None
    end = content.rfind(b"\n") + 1
    # A line of a table ends a row where all quotation marks before it are closed.
    while kind in _TABLES and end and content.count(b'"', 0, end) % 2:
        end = content.rfind(b"\n", 0, end - 1) + 1
    return content[:end] or None
