"""Raw splits: where they come from, that they are whole, and what their content is."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sources import hub
from phi_assets.dataset.sources.convert import as_they_lie, convert
from phi_assets.dataset.sources.fields import described
from phi_assets.dataset.sources.hub_client import LONGEST_PAUSE_SECONDS
from phi_assets.dataset.sources.local import folder_of, readable_files, split_files
from phi_assets.dataset.sources.schema import prove_schema
from phi_assets.fingerprint import file_sha256, fingerprint
from phi_assets.refs import DataFile, SplitRef

Log = Callable[[str], None]

_CHUNK = 1 << 20


def fetch_split(dataset: DatasetSection, split: str, data_dir: Path, log: Log) -> SplitRef:
    """All shards of a split lie on local disk, as Parquet with a proven schema and a content hash.

    Files from the hub are downloaded below `data_dir` unless they are there already. Parquet in the schema of
    ultrachat is used where it lies; everything else is converted once, below `data_dir` too. Where the source calls
    the split something else, `dataset.splits` says so; where it has one split to train on and to test with, `part` says
    which of its rows are meant. What the source holds besides conversations is counted in
    `not_carried`.

    Raises:
        DatasetError: the source does not have the split, cannot be reached, or has files missing, damaged, without
            rows or in no known format, or fields that change what is learned and cannot be carried; or the disk is
            full.
    """
    if dataset.source == "hub":
        files, origin, part = hub.fetch_files(dataset, split, data_dir / "hub", log)
    else:
        files, part = split_files(dataset, split)
        origin = "bundled" if dataset.source == "bundled" else str(folder_of(dataset))
    shards = as_they_lie(files, dataset) or convert(files, dataset, data_dir / "converted", log)
    rows = sum(prove_schema(shard) for shard in shards.files)
    if not rows:
        raise DatasetError(f"Split {split!r} of {origin} has no rows: there is nothing to sample from")
    sha256 = _content_sha256(shards.files)
    ref = SplitRef(
        split=split,
        files=tuple(map(DataFile.at, shards.files)),
        rows=rows,
        size_bytes=sum(shard.stat().st_size for shard in shards.files),
        sha256=sha256 if part == "all" else fingerprint([sha256, part]),
        source=origin,
        not_carried=dict(sorted(shards.not_carried.items())),
        sources=shards.sources,
        part=part,
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
