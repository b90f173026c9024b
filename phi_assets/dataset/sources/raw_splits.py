"""Raw splits: where they come from, that they are whole, and what their content is."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from phi_assets.config.dataset import DatasetSection, Split
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sources import hub
from phi_assets.dataset.sources.convert import as_they_lie, convert
from phi_assets.dataset.sources.fields import described
from phi_assets.dataset.sources.hub_client import LONGEST_PAUSE_SECONDS
from phi_assets.dataset.sources.local import folder_of, readable_files, split_files
from phi_assets.dataset.sources.schema import prove_schema
from phi_assets.fingerprint import file_sha256, fingerprint
from phi_assets.refs import SplitRef

Log = Callable[[str], None]

_CHUNK = 1 << 20


def fetch_split(dataset: DatasetSection, split: str, data_dir: Path, log: Log) -> SplitRef:
    """All shards of a split lie on local disk, as Parquet with a proven schema and a content hash.

    Files from the hub are downloaded below `data_dir` unless they are there already. Parquet in the schema of
    ultrachat is used where it lies; everything else is converted once, below `data_dir` too. Where the source calls
    the split something else, `dataset.splits` says so. What the source holds besides conversations is counted in
    `not_carried`.

    Raises:
        DatasetError: the source does not have the split, cannot be reached, or has files missing, damaged, without
            rows or in no known format, or fields that change what is learned and cannot be carried; or the disk is
            full.
    """
    name = dataset.splits.get(cast("Split", split), split)
    if dataset.source == "hub":
        files, origin = hub.fetch_files(dataset, name, data_dir / "hub", log)
    else:
        folder = folder_of(dataset)
        files, origin = split_files(folder, name), "bundled" if dataset.source == "bundled" else str(folder)
    shards = as_they_lie(files, dataset) or convert(files, dataset, data_dir / "converted", log)
    rows = sum(prove_schema(shard) for shard in shards.files)
    if not rows:
        raise DatasetError(f"Split {name!r} of {origin} has no rows: there is nothing to sample from")
    ref = SplitRef(
        split=split,
        files=tuple(str(shard) for shard in shards.files),
        rows=rows,
        size_bytes=sum(shard.stat().st_size for shard in shards.files),
        sha256=_content_sha256(shards.files),
        source=origin,
        not_carried=dict(sorted(shards.not_carried.items())),
    )
    if ref.not_carried:
        log(f"{split}: in no conversation are {described(ref.not_carried)}")
    log(f"{split}: {rows:,} rows in {len(shards.files)} shard(s), {ref.size_bytes / 1e6:,.1f} MB, from {origin}")
    return ref


def latest_revision(dataset: DatasetSection, longest_pause_seconds: float = LONGEST_PAUSE_SECONDS) -> str:
    """What the source holds now, as a text that changes when the source does; cheap enough to ask every minute.

    The hub's answer is the commit that `dataset.revision` means. A folder's is a fingerprint of its files' names,
    sizes and modification times. A hub that asks for a pause gets it unless it is longer than the caller can wait;
    one that is silent is given up after a minute.

    Raises:
        DatasetError: the source cannot be reached or does not exist.
    """
    if dataset.source == "hub":
        return hub.resolve_commit(dataset, longest_pause_seconds=longest_pause_seconds)
    folder = folder_of(dataset)
    found = readable_files(folder)
    if dataset.source == "bundled":
        # Installing a package gives its files new times.
        return fingerprint([[file.name, file_sha256(file)] for file in found])
    names = [str(file.relative_to(folder)) for file in found]
    stats = [file.stat() for file in found]
    return fingerprint([[name, at.st_size, at.st_mtime_ns] for name, at in zip(names, stats, strict=True)])


def _content_sha256(shards: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for shard in shards:
        with shard.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
