"""Splits in a folder: which files they are, and that none is missing."""

import re
from importlib.resources import files
from pathlib import Path

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sources.readers import READABLE

_NAME = re.compile(rf"^(?P<split>.+?)(?:-(?P<index>\d{{5}})-of-(?P<count>\d{{5}})(?:-[0-9a-f]+)?)?[.]{READABLE}$")
"""A whole split or, as the hub names it, a shard: `train_sft-00000-of-00003-a3ecf92756993583.parquet`."""

_EXPECTED = (
    "data/<split>-00000-of-0000N.parquet, or <split> with .parquet, .jsonl, .ndjson, .json or .csv, "
    "and .gz or .zst after that"
)


def folder_of(dataset: DatasetSection) -> Path:
    """The folder that the recipe names, or the package's own.

    Raises:
        DatasetError: it does not exist.
    """
    if dataset.source == "bundled":
        return Path(str(files("phi_assets.dataset") / "bundled"))
    folder = Path(str(dataset.path)).expanduser().resolve()
    if not folder.is_dir():
        raise DatasetError(f"The recipe's dataset.path {folder} is not a folder: it must hold {_EXPECTED}")
    return folder


def readable_files(folder: Path) -> list[Path]:
    """Files of any split, in `data/` and beside it.

    Raises:
        DatasetError: there are none.
    """
    found = sorted(path for place in (folder / "data", folder) for path in place.glob("*") if _NAME.match(path.name))
    if not found:
        raise DatasetError(f"{folder} holds no data: put {_EXPECTED} there, or use `source: hub` or `bundled`")
    return found


def split_files(folder: Path, split: str) -> list[Path]:
    """The files of one split, all of them, in their order.

    Raises:
        DatasetError: there are none, a shard is missing, or there is more than one copy.
    """
    named = [(path, name) for path in readable_files(folder) if (name := _NAME.match(path.name))]
    shards = [
        (path, int(name["index"] or 0), int(name["count"] or 1)) for path, name in named if name["split"] == split
    ]
    if not shards:
        known = ", ".join(sorted({name["split"] for _, name in named}))
        raise DatasetError(
            f"{folder} has no split {split!r}: there are {known}. "
            f"Say in the recipe's dataset.splits which of them is meant, or put {_EXPECTED} there"
        )
    indices = sorted(index for _, index, _ in shards)
    if len({count for _, _, count in shards}) > 1 or len(set(indices)) < len(indices):
        raise DatasetError(
            f"{folder} holds more than one copy of split {split!r} ({', '.join(path.name for path, *_ in shards)}): "
            "leave one"
        )
    if missing := [index for index in range(shards[0][2]) if index not in indices]:
        raise DatasetError(
            f"{folder} lacks shard(s) {', '.join(f'{index:05d}' for index in missing)} of split {split!r}: copy them"
        )
    return [path for path, index, _ in sorted(shards, key=lambda shard: shard[1])]
