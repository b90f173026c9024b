"""Raw splits: where they come from, that they are whole, and what their content is."""

import hashlib
import re
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

from phi_assets.dataset import hub
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.schema import prove_schema
from phi_assets.fingerprint import fingerprint
from phi_assets.recipe import DatasetSection
from phi_assets.refs import SplitRef

Log = Callable[[str], None]

_SHARD = re.compile(r"^(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?\.parquet$")
"""The hub's name of a shard, for example `train_sft-00000-of-00003-a3ecf92756993583.parquet`."""

_CHUNK = 1 << 20


def fetch_split(dataset: DatasetSection, split: str, data_dir: Path, log: Log) -> SplitRef:
    """All shards of a split lie on local disk, with a proven schema and a content hash.

    Shards from the hub are downloaded below `data_dir` unless they are there already; those of a local folder and of
    the package are used where they lie.

    Raises:
        DatasetError: the source does not have the split, cannot be reached, or has shards missing, damaged, empty or
            of another schema.
    """
    if dataset.source == "hub":
        shards, origin = hub.fetch_shards(dataset, split, data_dir / "hub", log)
    else:
        folder = _folder(dataset)
        shards, origin = _shards(folder, split), "bundled" if dataset.source == "bundled" else str(folder)
    rows = sum(prove_schema(shard) for shard in shards)
    if not rows:
        raise DatasetError(f"Split {split!r} of {origin} has no rows: there is nothing to sample from")
    ref = SplitRef(
        split=split,
        files=tuple(str(shard) for shard in shards),
        rows=rows,
        size_bytes=sum(shard.stat().st_size for shard in shards),
        sha256=_content_sha256(shards),
        source=origin,
    )
    log(f"{split}: {rows:,} rows in {len(shards)} shard(s), {ref.size_bytes / 1e6:,.1f} MB, from {origin}")
    return ref


def latest_revision(dataset: DatasetSection) -> str:
    """What the source holds now, as a text that changes when the source does; cheap enough to ask every minute.

    The hub's answer is the commit that `dataset.revision` means. A folder's is a fingerprint of its shards' names,
    sizes and modification times.

    Raises:
        DatasetError: the source cannot be reached or does not exist.
    """
    if dataset.source == "hub":
        return hub.resolve_commit(dataset)
    shards = _parquet_files(_folder(dataset))
    if dataset.source == "bundled":
        # Installing a package gives its files new times.
        return fingerprint([[shard.name, _content_sha256([shard])] for shard in shards])
    return fingerprint([[shard.name, shard.stat().st_size, shard.stat().st_mtime_ns] for shard in shards])


def _folder(dataset: DatasetSection) -> Path:
    if dataset.source == "bundled":
        return Path(str(files("phi_assets.dataset") / "bundled"))
    folder = Path(str(dataset.path)).expanduser().resolve()
    if not folder.is_dir():
        raise DatasetError(f"The recipe's dataset.path {folder} is not a folder: it must hold data/<split>-*.parquet")
    return folder


def _parquet_files(folder: Path) -> list[Path]:
    found = sorted((folder / "data").glob("*.parquet"))
    if not found:
        raise DatasetError(f"{folder} holds no data/*.parquet: put shards there, or use `source: hub` or `bundled`")
    return found


def _shards(folder: Path, split: str) -> list[Path]:
    found = _parquet_files(folder)
    names = {path: _SHARD.match(path.name) for path in found}
    shards = [path for path, name in names.items() if name and name["split"] == split]
    if not shards:
        known = sorted({name["split"] for name in names.values() if name})
        raise DatasetError(
            f"{folder} has no split {split!r}: expected data/{split}-00000-of-0000N.parquet; "
            + (f"there are {', '.join(known)}" if known else f"there is {', '.join(path.name for path in found)}")
        )
    _prove_whole(folder, split, [(int(name["index"]), int(name["count"])) for path in shards if (name := names[path])])
    return shards


def _prove_whole(folder: Path, split: str, numbers: list[tuple[int, int]]) -> None:
    counts = {count for _, count in numbers}
    indices = sorted(index for index, _ in numbers)
    if len(counts) > 1 or len(set(indices)) < len(indices):
        raise DatasetError(f"{folder} holds more than one copy of split {split!r}: leave one set of shards in data/")
    missing = [index for index in range(counts.pop()) if index not in indices]
    if missing:
        raise DatasetError(
            f"{folder} lacks shard(s) {', '.join(f'{index:05d}' for index in missing)} of split {split!r}: copy them"
        )


def _content_sha256(shards: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for shard in shards:
        with shard.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
