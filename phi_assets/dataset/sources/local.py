"""Splits in a folder: which files they are, and that none is missing."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from phi_assets.config.dataset import DatasetSection, Part
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.sources.at_url import Listed
from phi_assets.dataset.sources.readers import READABLE
from phi_assets.refs import DataFile

Folder = Path | Listed
"""On this machine's disk, or at a URL."""

_ENDING = rf"[.](?i:{READABLE})"
_NAME = re.compile(rf"^(?P<split>.+?)(?:-(?P<index>\d{{5}})-of-(?P<count>\d{{5}})(?:-[0-9a-f]+)?)?{_ENDING}$")
"""A whole split or, as the hub names it, a shard: `train_sft-00000-of-00003-a3ecf92756993583.parquet`."""

_ABOUT_DATA = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
"""What `datasets` writes beside the data: <https://huggingface.co/docs/datasets/process#save>."""

_EXPECTED = (
    "data/<split>-00000-of-0000N.parquet, or <split> with .parquet, .jsonl, .ndjson, .json, .csv, .tsv or .arrow and "
    ".gz, .zst, .xz, .bz2 or .zip after that, or a folder <split> of such files"
)


def folder_of(dataset: DatasetSection, storage: DataStorage | None = None) -> Folder:
    """The folder that the recipe names, or the one file, or the package's own folder; `storage` knows URLs.

    Raises:
        DatasetError: it does not exist, or cannot be reached.
    """
    if dataset.source == "bundled":
        return Path(str(files("phi_assets.dataset") / "bundled"))
    folder: Folder
    if dataset.url:
        folder = Listed.at(dataset.url, storage or DataStorage.local(Path()))
    else:
        folder = Path(str(dataset.path)).expanduser().resolve()
    if not folder.exists():
        raise DatasetError(
            f"Nothing is at {folder}, the recipe's dataset.path: name a file of conversations, or a folder that holds "
            f"{_EXPECTED}"
        )
    return folder


def readable_files(folder: Folder) -> list[Any]:
    """Files of any split, in `data/` and beside it.

    Raises:
        DatasetError: there are none.
    """
    return [path for shards in _splits(folder).values() for path, *_ in shards]


def split_names(dataset: DatasetSection, storage: DataStorage | None = None) -> list[str]:
    """What the splits of the recipe's folder are called.

    Raises:
        DatasetError: there are none.
    """
    return sorted(_splits(folder_of(dataset, storage)))


def split_files(
    dataset: DatasetSection, split: str, storage: DataStorage | None = None
) -> tuple[list[Path | DataFile], Part]:
    """The files of one split, all of them, in their order, and which part of their rows is meant.

    Raises:
        DatasetError: there are none, a shard is missing, or there is more than one copy.
    """
    folder = folder_of(dataset, storage)
    known = _splits(folder)
    part, split = dataset.part_of(split, known), dataset.source_split(split, known)
    if split not in known:
        raise DatasetError(
            f"{folder} has no split {split!r}: there are {', '.join(sorted(known))}. "
            f"Say in the recipe's dataset.splits which of them is meant, or put {_EXPECTED} there"
        )
    shards = known[split]
    indices = sorted(index for _, index, _ in shards)
    if len({count for _, _, count in shards}) > 1 or len(set(indices)) < len(indices):
        raise DatasetError(
            f"{folder} holds more than one copy of split {split!r} ({', '.join(path.name for path, *_ in shards)}): "
            "leave one where it is, and name the others in dataset.splits or move them"
        )
    if missing := [index for index in range(shards[0][2]) if index not in indices]:
        raise DatasetError(
            f"{folder} lacks shard(s) {', '.join(f'{index:05d}' for index in missing)} of split {split!r}: copy them"
        )
    paths = [path for path, *_ in sorted(shards, key=lambda shard: shard[1])]
    return [path.file if isinstance(path, Listed) else path for path in paths], part


def _splits(folder: Folder) -> dict[str, list[tuple[Any, int, int]]]:
    """The files of each split, with their place among how many. A file is a split by itself.

    A folder is a split if its name ends as a file's does, or where there is nothing else: others lie there by chance.
    """
    if folder.is_file() and (name := _NAME.match(folder.name)):
        return {name["split"]: [(folder, 0, 1)]}
    found: dict[str, list[tuple[Any, int, int]]] = {}
    bare: dict[str, list[tuple[Any, int, int]]] = {}
    for place in (folder / "data", folder):
        for path in sorted(place.glob("*")):
            name = _NAME.match(path.name)
            if path.is_dir() and path != folder / "data" and path.name[0] not in "._":
                parts = _parts(path)
                split = re.sub(rf"{_ENDING}$", "", path.name)
                shards = [(part, index, len(parts)) for index, part in enumerate(parts)]
                (bare if split == path.name else found).setdefault(split, []).extend(shards)
            elif name and _is_data(path):
                shard = (path, int(name["index"] or 0), int(name["count"] or 1))
                found.setdefault(name["split"], []).append(shard)
    found = {split: shards for split, shards in (found or bare).items() if shards}
    if not found:
        raise DatasetError(f"{folder} holds no data: put {_EXPECTED} there, or use `source: hub` or `bundled`")
    return found


def _parts(folder: Any) -> list[Any]:
    """The files of a split that is a folder, in the order of their names, as Spark and `datasets` write it."""
    files = [*folder.glob("*"), *folder.glob("*=*/*")]
    return sorted(path for path in files if path.is_file() and _NAME.match(path.name) and _is_data(path))


def _is_data(path: Folder) -> bool:
    return path.name not in _ABOUT_DATA and path.name[0] not in "._"
