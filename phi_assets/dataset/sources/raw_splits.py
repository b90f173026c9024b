"""Raw splits: where they come from, that they are whole, and what their content is."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.sources import hub
from phi_assets.dataset.sources.at_url import Listed
from phi_assets.dataset.sources.convert import as_they_lie, convert
from phi_assets.dataset.sources.fields import described
from phi_assets.dataset.sources.hub_client import LONGEST_PAUSE_SECONDS
from phi_assets.dataset.sources.local import folder_of, readable_files, split_files
from phi_assets.dataset.sources.schema import prove_schema
from phi_assets.fingerprint import file_sha256, fingerprint
from phi_assets.refs import DataFile, SplitRef

Log = Callable[[str], None]

_CHUNK = 1 << 20


def fetch_split(
    dataset: DatasetSection, split: str, data_dir: Path, log: Log, storage: DataStorage | None = None
) -> SplitRef:
    """All shards of a split can be read, as Parquet with a proven schema and a content hash.

    Files from the hub are downloaded below `data_dir` unless they are there already. Parquet in the schema of
    ultrachat is used where it lies, also at a URL that `storage` knows; everything else is converted once, below
    `data_dir` too, see `convert`. Where the source calls the split something else, `dataset.splits` says so; where it
    has one split to train on and to test with, `part` says which of its rows are meant. What the source holds besides
    conversations is counted in `not_carried`.

    Raises:
        DatasetError: the source does not have the split, cannot be reached, or has files missing, damaged, without
            rows or in no known format, or fields that change what is learned and cannot be carried; or the disk is
            full.
    """
    if dataset.source == "hub":
        files, origin, part = hub.fetch_files(dataset, split, data_dir / "hub", log)
    else:
        storage = storage or DataStorage.local(data_dir)
        files, part = split_files(dataset, split, storage)
        origin = "bundled" if dataset.source == "bundled" else str(folder_of(dataset, storage))
    shards = as_they_lie(files, dataset) or convert(files, dataset, data_dir / "converted", log)
    rows = sum(prove_schema(shard) for shard in shards.files)
    if not rows:
        raise DatasetError(f"Split {split!r} of {origin} has no rows: there is nothing to sample from")
    sha256 = _content_sha256(shards.files)
    ref = SplitRef(
        split=split,
        files=tuple(file if isinstance(file, DataFile) else DataFile.at(file) for file in shards.files),
        rows=rows,
        size_bytes=sum(map(_size, shards.files)),
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


def latest_revision(
    dataset: DatasetSection,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
    storage: DataStorage | None = None,
) -> str:
    """What the source holds now, as a text that changes when the source does; cheap enough to ask every minute.

    The hub's answer is the commit that `dataset.revision` means. A folder's is a fingerprint of its files' names,
    sizes and modification times, or, at a URL, of what the place says in place of these. A hub that asks for a pause
    gets it unless it is longer than the caller can wait; one that is silent is given up after a minute.

    Raises:
        DatasetError: the source cannot be reached or does not exist.
    """
    if dataset.source == "hub":
        return hub.resolve_commit(dataset, longest_pause_seconds=longest_pause_seconds)
    folder = folder_of(dataset, storage)
    found = readable_files(folder)
    if dataset.source == "bundled":
        # Installing a package gives its files new times.
        return fingerprint([[file.name, file_sha256(file)] for file in found])
    names = [str(file.relative_to(folder)) for file in found]
    if isinstance(folder, Listed):
        return fingerprint([[name, each.file.size, each.file.version] for name, each in zip(names, found, strict=True)])
    stats = [file.stat() for file in found]
    return fingerprint([[name, at.st_size, at.st_mtime_ns] for name, at in zip(names, stats, strict=True)])


def _size(shard: Path | DataFile) -> int:
    return (shard.size or 0) if isinstance(shard, DataFile) else shard.stat().st_size


def _content_sha256(shards: Sequence[Path | DataFile]) -> str:
    """Of their bytes; of what their place says of them where they lie at a URL, as to hash them is to fetch them."""
    if any(isinstance(shard, DataFile) for shard in shards):
        return fingerprint([[_size(shard), shard.version] for shard in shards if isinstance(shard, DataFile)])
    digest = hashlib.sha256()
    for shard in shards:
        with Path(shard).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
