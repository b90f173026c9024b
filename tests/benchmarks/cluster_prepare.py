"""Data prepared beside the data: `python -m tests.benchmarks.cluster_prepare DIRECTORY`.

DIRECTORY holds what `python -m tests.benchmarks.ultrachat DIRECTORY` writes. An emulator gets the shards as if they had
always been in its storage, and makes the samples of all four splits by jobs on a cluster; then they are made in one
pass in this process. Every file of both has to be the same. A shard of the largest split is killed once on the way.
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import click
from rich.table import Table

from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.azureml.connection.errors import JobFailed
from phi_assets.azureml.preparation.samples import Place, PreparedBeside, ensure_samples
from phi_assets.azureml.training.history import RunHistory
from phi_assets.config.dataset import SPLITS, ContractSection, DatasetSection, SampleSection
from phi_assets.config.recipe import PreparationSection
from phi_assets.dataset.files.write import checksum
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.usable import rows_in
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from phi_assets.refs import SampleRef, SplitRef
from tests.benchmarks.report import BenchmarkError, Log, benchmarking
from tests.emulator_requests import Requests

STORE = "azureml://datastores/workspaceblobstore/paths"
_AGAINST = {"train_sft": "test_sft", "train_gen": "test_gen"}


@dataclass(frozen=True)
class Figures:
    """What making the samples of a split took."""

    split: str
    shards: int
    rows: int
    here_s: float
    cluster_s: float
    again_s: float
    steps: int
    """Processes that ran, of the job that succeeded."""
    reused: int
    """Steps that were taken over from the job before."""
    received: int
    """Bytes of the storage that came to this process,"""
    sent: int
    """and that went there."""


class _Bench:
    def __init__(self, directory: Path, scratch: Path, percent: float, nodes: int, log: Log) -> None:
        self._directory, self._scratch, self._log = directory, scratch, log
        self._sample = SampleSection(percent=percent)
        self._section = PreparationSection(name="cpu-prepare", max_nodes=nodes)
        self._connection = process.ensure_running(scratch / "emulator")
        self._blobs = self._connection.directory / "blobs" / "azureml-blobstore"
        self._ws: Workspace = connect_emulator(self._connection)
        self._here: dict[str, tuple[SampleRef, ...]] = {}
        self._beside: dict[str, tuple[SampleRef, ...]] = {}

    def close(self) -> None:
        process.stop(self._connection.directory)

    def measure(self, split: str, *, kill: bool) -> Figures:
        """Both ways, compared file by file."""
        raw = fetch_split(DatasetSection(source="local", path=self._directory), split, self._scratch, self._log)
        files = [self._placed(Path(file)) for file in raw.files]
        if kill:
            with Control(self._connection) as control:
                control.add_scenario("job", scenario="preempted", match="phi3-prep*", step="judge_1", seconds=5)
            try:
                self._prepare(raw, files)
            except JobFailed as failed:
                self._log(str(failed).splitlines()[0])
            else:
                raise BenchmarkError("the shard was not killed")
        start = time.perf_counter()
        with Requests(self._connection) as requests:
            made = self._prepare(raw, files)
        cluster_s = time.perf_counter() - start
        start = time.perf_counter()
        again = self._prepare(raw, files)
        again_s = time.perf_counter() - start
        if again.job or again.refs != made.refs:
            raise BenchmarkError(f"{split} was made a second time")
        history = RunHistory(self._ws)
        steps = [history.details(run.run_id) for run in history.children(made.job)]
        reused = sum((step.properties or {})["azureml.isreused"] == "true" for step in steps)
        start = time.perf_counter()
        here = prepare_split(
            raw,
            self._sample,
            ContractSection(),
            self._scratch / "here",
            self._log,
            validation=split == "train_sft",
            against=self._against(self._here, split),
        )
        here_s = time.perf_counter() - start
        self._here[split], self._beside[split] = here, made.refs
        self._compare(here, made.refs)
        received = [entry for entry in requests.entries if (entry.plane, entry.method) == ("blob", "GET")]
        return Figures(
            split=split,
            shards=len(files),
            rows=here[0].rows_total,
            here_s=here_s,
            cluster_s=cluster_s,
            again_s=again_s,
            steps=len(steps) - reused,
            reused=reused,
            received=sum(self._size(entry.path) for entry in received),
            sent=sum(requests.uploaded.values()),
        )

    def _size(self, path: str) -> int:
        file = self._connection.directory / "blobs" / path.removeprefix("/").partition("/")[2]
        return file.stat().st_size if file.is_file() else 0

    def _placed(self, file: Path) -> str:
        target = self._blobs / "raw" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)
        return f"{STORE}/raw/{file.name}"

    def _against(self, known: dict[str, tuple[SampleRef, ...]], split: str) -> SampleRef | None:
        return known[_AGAINST[split]][0] if split in _AGAINST else None

    def _prepare(self, raw: SplitRef, files: list[str]) -> PreparedBeside:
        against = self._against(self._beside, raw.split)
        rows = [rows_in(file) for file in raw.files]
        place = Place(files=files, rows=rows, root=f"{STORE}/phi", test=str(against.parquet) if against else None)
        return ensure_samples(
            self._ws,
            self._section,
            raw,
            self._sample,
            ContractSection(),
            place,
            self._log,
            validation=raw.split == "train_sft",
            against=against,
        )

    def _compare(self, here: tuple[SampleRef, ...], beside: tuple[SampleRef, ...]) -> None:
        for one, other in zip(here, beside, strict=True):
            if one.sha256 != other.sha256:
                raise BenchmarkError(f"{one.split}: sha256 {one.sha256} here, {other.sha256} on the cluster")
            for name in ("jsonl", "parquet", "quarantine"):
                mine, theirs = getattr(one, name), getattr(other, name)
                if mine and checksum(Path(mine)) != checksum(self._blobs / str(theirs).removeprefix(f"{STORE}/")):
                    raise BenchmarkError(f"{one.split}: {name} differs")
        self._log(f"{here[0].split}: all files are the same")


def measure(directory: Path, scratch: Path, percent: float, nodes: int, log: Log) -> list[Figures]:
    """The figures of all four splits; everything is written to `scratch`.

    Raises:
        BenchmarkError: a file differs, or something ran that should not have.
    """
    bench = _Bench(directory, scratch, percent, nodes, log)
    try:
        splits = sorted(SPLITS, key=lambda split: split in _AGAINST)
        return [bench.measure(split, kill=split == "train_sft") for split in splits]
    finally:
        bench.close()


@click.command(help=__doc__)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--percent", default=100.0, show_default=True, help="Share of each split.")
@click.option("--nodes", default=2, show_default=True, help="Shards at a time.")
@click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="Where to write; temporary if none.")
def main(directory: Path, percent: float, nodes: int, scratch: Path | None) -> None:
    with benchmarking(scratch) as (console, folder):
        found = measure(directory, folder, percent, nodes, console.print)
    columns = (
        "split",
        "shards",
        "rows",
        "here, s",
        "cluster, s",
        "again, s",
        "steps",
        "taken over",
        "received",
        "sent",
    )
    table = Table(*columns, title=f"{percent:g} % of each split, {nodes} nodes")
    for each in found:
        seconds = (f"{value:.1f}" for value in (each.here_s, each.cluster_s, each.again_s))
        numbers = (str(value) for value in (each.steps, each.reused))
        sizes = (f"{value:,}" for value in (each.received, each.sent))
        table.add_row(each.split, str(each.shards), f"{each.rows:,}", *seconds, *numbers, *sizes)
    console.print(table)


if __name__ == "__main__":
    main()
