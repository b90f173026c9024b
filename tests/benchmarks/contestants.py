"""The contestants of the benchmark, each run in a process of its own.

`python -m tests.benchmarks.contestants NAME SOURCE OUTPUT CACHE CORES` writes `OUTPUT/<split>.jsonl` and prints one
line of JSON: the seconds of its work without imports, the rows that it worked on and the bytes that it wrote.

`raw_split`, `ours_bare` and `ours_whole` are all that knows this project's own engine.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("train_sft", "test_sft", "train_gen", "test_gen")

Work = Callable[[], int]
"""Does the work and returns the number of rows."""


@dataclass(frozen=True)
class Job:
    """What one run is given."""

    source: Path
    """Folder in the hub's layout that holds the contestant's splits, those beside them, and no others."""
    output: Path
    """Empty folder."""
    cache: Path
    """Cache of `datasets`: empty for the cold ones."""
    splits: tuple[str, ...]
    percent: int

    def shards(self, split: str) -> list[Path]:
        """The split's files in their order."""
        return sorted((self.source / "data").glob(f"{split}-*.parquet"))


@dataclass(frozen=True)
class Contestant:
    """Somebody who does a job: `start` imports what it needs and returns the work."""

    start: Callable[[Job], Work]
    percent: int
    splits: tuple[str, ...] = ("train_sft",)
    warm: bool = False
    """It is given a cache of `datasets` that is filled already."""
    beside: tuple[str, ...] = ()
    """Further splits that it needs at hand."""


def _rows_of(shards: list[Path]) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(shard).num_rows for shard in shards)


def seed(job: Job) -> Work:
    """The seed's way: `load_dataset` with a slice, then `to_json`."""
    import datasets

    datasets.disable_progress_bars()

    def work() -> int:
        rows = 0
        for split in job.splits:
            sliced = datasets.load_dataset(
                str(job.source), split=f"{split}[0%:{job.percent}%]", cache_dir=str(job.cache)
            )
            assert isinstance(sliced, datasets.Dataset)
            sliced.to_json(job.output / f"{split}.jsonl")
            rows += sliced.num_rows
        return rows

    return work


def seed_to_json(job: Job) -> Work:
    """Only the second half of the seed's way."""
    import datasets

    datasets.disable_progress_bars()
    (split,) = job.splits
    sliced = datasets.load_dataset(str(job.source), split=f"{split}[0%:{job.percent}%]", cache_dir=str(job.cache))
    assert isinstance(sliced, datasets.Dataset)

    def work() -> int:
        sliced.to_json(job.output / f"{split}.jsonl")
        return sliced.num_rows

    return work


def pandas(job: Job) -> Work:
    """`read_parquet` and `to_json`."""
    import pandas as pd

    (split,) = job.splits

    def work() -> int:
        frame = pd.read_parquet(job.source / "data")
        head = frame.head(round(len(frame) * job.percent / 100))
        head.to_json(job.output / f"{split}.jsonl", orient="records", lines=True)
        return len(head)

    return work


def decode(threads: int) -> Callable[[Job], Work]:
    """Nothing but reading the Parquet row groups, one after the other on each thread, with pyarrow."""

    def start(job: Job) -> Work:
        from concurrent.futures import ThreadPoolExecutor

        import pyarrow as pa
        import pyarrow.parquet as pq

        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)

        def read(groups: list[tuple[Path, int]]) -> int:
            rows, current, file = 0, None, None
            for path, number in groups:
                if path != current:
                    current, file = path, pq.ParquetFile(path)
                assert file is not None
                rows += file.read_row_group(number, use_threads=False).num_rows
            return rows

        def work() -> int:
            groups, rows = [], 0
            shards = [shard for split in job.splits for shard in job.shards(split)]
            wanted = round(_rows_of(shards) * job.percent / 100)
            for shard in shards:
                metadata = pq.read_metadata(shard)
                for number in range(metadata.num_row_groups):
                    if rows < wanted:
                        groups.append((shard, number))
                        rows += metadata.row_group(number).num_rows
            with ThreadPoolExecutor(threads) as pool:
                # Neighbours stay together, so that no thread opens a file more than once.
                parts = [
                    groups[part * len(groups) // threads : (part + 1) * len(groups) // threads]
                    for part in range(threads)
                ]
                return sum(pool.map(read, parts))

        return work

    return start


def raw_split(job: Job, split: str) -> Any:
    """The raw split as `fetch_split` would give it, without hashing it."""
    from phi_assets.refs import DataFile, SplitRef

    shards = job.shards(split)
    return SplitRef(
        split=split,
        files=tuple(map(DataFile.at, shards)),
        rows=_rows_of(shards),
        size_bytes=sum(shard.stat().st_size for shard in shards),
        sha256="0" * 64,
        source="benchmark",
    )


def ours_bare(mode: str) -> Callable[[Job], Work]:
    """This project's sample as JSON Lines, without contract, profile or hash."""

    def start(job: Job) -> Work:
        from phi_assets.config.dataset import SampleSection
        from phi_assets.dataset.samples.export import export_jsonl

        sample = SampleSection.model_validate({"mode": mode, "percent": job.percent})
        refs = [raw_split(job, split) for split in job.splits]

        def work() -> int:
            for ref in refs:
                export_jsonl(ref, sample, job.output / f"{ref.split}.jsonl")
            return sum(round(ref.rows * job.percent / 100) for ref in refs)

        return work

    return start


def ours_whole(job: Job) -> Work:
    """All that this project's `sampled` assets do; the test split that a lone train split is compared with is there."""
    return _whole(job, {})


def near_duplicates(job: Job) -> Work:
    """The same, with conversations compared that are nearly the same."""
    return _whole(job, {"near_duplicate_threshold": 0.8})


def _whole(job: Job, contract_section: dict[str, Any]) -> Work:
    from phi_assets.config.dataset import ContractSection, SampleSection
    from phi_assets.dataset.samples.prepare import prepare_split

    contract, sample = ContractSection(**contract_section), SampleSection(percent=job.percent)
    # Test splits first, since the others are compared with them.
    refs = [raw_split(job, split) for split in sorted(job.splits)]
    tests: dict[str, Any] = {}

    def prepare(ref: Any, folder: Path) -> int:
        is_test = ref.split.startswith("test_")
        samples = prepare_split(
            ref,
            sample,
            contract,
            folder,
            _silent,
            validation=ref.split == "train_sft",
            against=None if is_test else tests[ref.split.replace("train_", "test_")],
        )
        if is_test:
            tests[ref.split] = samples[0]
        return sum(written.rows for written in samples) + samples[0].rows_quarantined

    for split in sorted({split.replace("train_", "test_") for split in job.splits} - set(job.splits)):
        prepare(raw_split(job, split), job.cache)

    def work() -> int:
        return sum(prepare(ref, job.output) for ref in refs)

    return work


def _silent(line: str) -> None:
    """The log of a benchmark."""


CONTESTANTS: dict[str, Contestant] = {
    "seed-cold-5": Contestant(seed, 5),
    "seed-warm-5": Contestant(seed, 5, warm=True),
    "pandas-5": Contestant(pandas, 5),
    "decode-1-5": Contestant(decode(1), 5),
    "decode-2-5": Contestant(decode(2), 5),
    "ours-bare-5": Contestant(ours_bare("head"), 5),
    "ours-hash-5": Contestant(ours_bare("hash"), 5),
    "seed-cold-all-5": Contestant(seed, 5, SPLITS),
    "seed-warm-all-5": Contestant(seed, 5, SPLITS, warm=True),
    "ours-whole-all-5": Contestant(ours_whole, 5, SPLITS),
    "seed-cold-100": Contestant(seed, 100),
    "seed-to-json-100": Contestant(seed_to_json, 100, warm=True),
    "decode-1-100": Contestant(decode(1), 100),
    "decode-2-100": Contestant(decode(2), 100),
    "ours-bare-100": Contestant(ours_bare("head"), 100),
    "ours-whole-100": Contestant(ours_whole, 100, beside=("test_sft",)),
    "near-duplicates-100": Contestant(near_duplicates, 100, beside=("test_sft",)),
}
"""By name: whose way, what of it, and the percentage; of `train_sft` unless it says `all`."""


def main(name: str, source: str, output: str, cache: str, cores: str) -> None:
    """Run one contestant and print what it took."""
    if hasattr(os, "sched_setaffinity"):
        # Before any library counts the cores to start its threads.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    contestant = CONTESTANTS[name]
    job = Job(Path(source), Path(output), Path(cache), contestant.splits, contestant.percent)
    # What libraries print must not mix with the result.
    with contextlib.redirect_stdout(sys.stderr):
        work = contestant.start(job)
        begun = time.perf_counter()
        rows = work()
        seconds = time.perf_counter() - begun
    written = sum(file.stat().st_size for file in job.output.rglob("*") if file.is_file())
    print(json.dumps({"work_s": seconds, "rows": rows, "bytes": written}))


if __name__ == "__main__":
    main(*sys.argv[1:])
