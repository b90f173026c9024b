"""Data preparation beside its peers: `python -m tests.benchmarks.prepare DIRECTORY`.

DIRECTORY holds what `python -m tests.benchmarks.ultrachat DIRECTORY` writes. Every contestant runs in a fresh process
in every round, one after the other, so that whatever else the machine does falls on all of them. Peak memory is what
the system says of the process once it has ended.

This process stays small on purpose: on Linux a child's peak begins with the peak of who started it.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from tests.benchmarks.contestants import CONTESTANTS
from tests.benchmarks.report import (
    BenchmarkError,
    Log,
    Verdict,
    benchmarking,
    figures_table,
    machine,
    verdict_table,
    write_json,
)

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """One run of one contestant."""

    work_s: float
    """Without imports."""
    wall_s: float
    """Of the whole process."""
    peak_mb: float
    """Largest resident set, 10^6 bytes."""
    rows: int
    bytes: int
    """Written."""


@dataclass(frozen=True)
class Target:
    """What a ratio of two contestants, or a figure of one, has to be."""

    what: str
    figure: str
    """A field of `Run`."""
    of: str
    over: str | None
    """None: the figure itself counts."""
    at_least: float | None = None
    at_most: float | None = None


@dataclass
class Report:
    """Everything that was measured."""

    directory: str
    cores: int
    machine: dict[str, str]
    runs: dict[str, list[Run]] = field(default_factory=dict)
    equal_rows: int | None = None
    """Rows of the bare 5 % that parse to the objects of the seed's; None where one of the two did not run."""
    verdicts: list[Verdict] = field(default_factory=list)

    def median(self, name: str, figure: str) -> float:
        """Median of a figure of a contestant over the rounds."""
        return statistics.median(getattr(run, figure) for run in self.runs[name])


TARGETS = (
    Target("bare JSON Lines of 5 %: faster than the cold seed", "work_s", "seed-cold-5", "ours-bare-5", 25),
    Target("bare JSON Lines of 5 %: faster than the warm seed", "work_s", "seed-warm-5", "ours-bare-5", 4),
    Target("bare JSON Lines of 100 %: faster than the cold seed", "work_s", "seed-cold-100", "ours-bare-100", 5),
    Target(
        "bare JSON Lines of 100 %: of the one-thread decode", "work_s", "ours-bare-100", "decode-1-100", at_most=0.85
    ),
    Target(
        "whole asset, 5 % of four splits: faster than the cold seed",
        "work_s",
        "seed-cold-all-5",
        "ours-whole-all-5",
        12,
    ),
    Target("whole asset, 100 %: faster than the cold seed", "work_s", "seed-cold-100", "ours-whole-100", 2),
    Target("hash sample of 5 %: of the one-thread decode", "work_s", "ours-hash-5", "decode-1-100", at_most=0.5),
    *(
        Target(f"peak MB of {name}", "peak_mb", name, None, at_most=450)
        for name in CONTESTANTS
        if name.startswith("ours-")
    ),
    Target("near duplicates: peak MB", "peak_mb", "near-duplicates-100", None, at_most=2000),
    Target("near duplicates: of the whole pass", "work_s", "near-duplicates-100", "ours-whole-100", at_most=20),
    Target("bare: peak MB at 100 % over 5 %", "peak_mb", "ours-bare-100", "ours-bare-5", at_most=1.25),
    Target("whole: peak MB at 100 % over 5 %", "peak_mb", "ours-whole-100", "ours-whole-all-5", at_most=1.25),
)


def benchmark(
    directory: Path, scratch: Path, names: Sequence[str], *, rounds: int, cores: int = 2, log: Log = print
) -> Report:
    """Each contestant has run once in every round, with the page cache warm.

    `scratch` needs room for the Arrow copies of `datasets` and for the JSON Lines of one run.

    Raises:
        BenchmarkError: a contestant failed, or the bare JSON Lines of 5 % differ from the seed's.
    """
    report = Report(
        str(directory), cores, machine("datasets", "pandas", "polars", "pyarrow"), {name: [] for name in names}
    )
    arena = _Arena(directory, scratch, cores)
    arena.warm_up(names, log)
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            run = arena.run(name)
            report.runs[name].append(run)
            log(f"round {number + 1}/{rounds}  {name}: {run.work_s:.3f} s, {run.peak_mb:,.0f} MB")
    report.equal_rows = arena.compare()
    report.verdicts = [_judge(report, target) for target in TARGETS if {target.of, target.over} - {None} <= set(names)]
    return report


class _Arena:
    """The folders of a benchmark, and how a contestant runs in them."""

    _COMPARED = ("ours-bare-5", "seed-cold-5", "seed-warm-5")

    def __init__(self, directory: Path, scratch: Path, cores: int) -> None:
        self._directory, self._scratch, self._cores = directory.resolve(), scratch.resolve(), cores
        self._kept: dict[str, Path] = {}

    def warm_up(self, names: Iterable[str], log: Log) -> None:
        """The shards are in the page cache, and the warm contestants' caches are filled."""
        for shard in sorted((self._directory / "data").glob("*.parquet")):
            with shard.open("rb") as file:
                while file.read(1 << 22):
                    pass
        for splits in {CONTESTANTS[name].splits for name in names if CONTESTANTS[name].warm}:
            name = next(name for name in names if CONTESTANTS[name].warm and CONTESTANTS[name].splits == splits)
            log(f"filling the cache of {name}")
            self.run(name)

    def run(self, name: str) -> Run:
        """One run in a fresh process and an empty output folder."""
        contestant = CONTESTANTS[name]
        splits = (*contestant.splits, *contestant.beside)
        label = "-".join(splits)
        output, cold = self._scratch / "output", self._scratch / "cold"
        for folder in (output, cold):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        cache = self._scratch / "warm" / label if contestant.warm else cold
        # What the run before has written would be written back during this one.
        os.sync()
        result = self._process(name, self._view(label, splits), output, cache)
        if name in self._COMPARED:
            kept = self._scratch / f"{name}.jsonl"
            self._kept[name] = (output / "train_sft.jsonl").replace(kept)
        return result

    def compare(self) -> int | None:
        """Rows that ours and the seed's 5 % agree on, or None where there are no two to compare."""
        ours = self._kept.pop("ours-bare-5", None)
        if ours is None or not self._kept:
            return None
        return compare_json_lines(ours, next(iter(self._kept.values())))

    def _view(self, label: str, splits: Sequence[str]) -> Path:
        """The data set reduced to some splits: `datasets` would convert all of them even if asked for one."""
        view = self._scratch / "views" / label
        if not view.is_dir():
            (view / "data").mkdir(parents=True)
            for split in splits:
                for shard in (self._directory / "data").glob(f"{split}-*.parquet"):
                    (view / "data" / shard.name).symlink_to(shard)
        return view

    def _process(self, name: str, source: Path, output: Path, cache: Path) -> Run:
        arguments = [name, str(source), str(output), str(cache), str(self._cores)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(self._scratch / "huggingface")}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            begun = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.contestants", *arguments],
                cwd=_ROOT,
                env=environment,
                stdout=out,
                stderr=err,
            )
            try:
                # Not Popen.wait: it does not tell what the process has used.
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
            wall = time.perf_counter() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            if process.returncode:
                ending = err.read().decode(errors="replace")[-2_000:]
                raise BenchmarkError(f"{name} ended with exit code {process.returncode}:\n{ending}")
            measured = json.loads(out.read())
        # macOS counts bytes, Linux kilobytes.
        peak = usage.ru_maxrss / 1e6 if sys.platform == "darwin" else usage.ru_maxrss * 1024 / 1e6
        return Run(wall_s=wall, peak_mb=peak, **measured)


def compare_json_lines(one: Path, other: Path) -> int:
    """Number of lines, each of which parses to the same row in both files.

    A message that is null and one of which every field is null are the same: this project writes the latter, since
    polars gets lines with null structs wrong. <https://github.com/pola-rs/polars/issues/18908>

    Raises:
        BenchmarkError: they do not; the message names the first such line.
    """
    count = 0
    with one.open("rb") as left, other.open("rb") as right:
        for count, (mine, theirs) in enumerate(zip_longest(left, right), start=1):
            if mine is None or theirs is None or _row(mine) != _row(theirs):
                shown = [str(line)[:300] for line in (mine, theirs)]
                raise BenchmarkError(f"{one.name} and {other.name} differ in line {count}:\n{shown[0]}\n{shown[1]}")
    return count


def _row(line: bytes) -> Any:
    row = orjson.loads(line)
    if isinstance(row, dict) and row.get("messages"):
        row["messages"] = [message or dict.fromkeys(("content", "role")) for message in row["messages"]]
    return row


def _judge(report: Report, target: Target) -> Verdict:
    over = target.over
    values = [getattr(run, target.figure) for run in report.runs[target.of]]
    measured = report.median(target.of, target.figure)
    if over is not None:
        values = [value / getattr(run, target.figure) for value, run in zip(values, report.runs[over], strict=True)]
        measured /= report.median(over, target.figure)
    if target.at_least is not None:
        return Verdict(
            target.what, f">= {target.at_least:g}", measured, min(values), max(values), measured >= target.at_least
        )
    assert target.at_most is not None
    return Verdict(
        target.what, f"<= {target.at_most:g}", measured, min(values), max(values), measured <= target.at_most
    )


def _print(report: Report, console: Console) -> None:
    runs = figures_table("contestant", "rows", "work s", "with imports s", "peak MB", "written MB")
    for name in report.runs:
        runs.add_row(
            name,
            f"{report.median(name, 'rows'):,.0f}",
            f"{report.median(name, 'work_s'):.3f}",
            f"{report.median(name, 'wall_s'):.3f}",
            f"{report.median(name, 'peak_mb'):,.0f}",
            f"{report.median(name, 'bytes') / 1e6:,.1f}",
        )
    console.print(runs)
    console.print(verdict_table("target", report.verdicts))
    if report.equal_rows is not None:
        console.print(f"{report.equal_rows:,} rows of our 5 % parse to the same objects as the seed's")


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--peers", default="*", show_default=True, help="Patterns of contestants, comma-separated: `ours-*,decode-1-*`."
)
@click.option("--cores", default=2, show_default=True, help="Cores that each contestant may use (on Linux).")
@click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="Where to write; temporary if none.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every run here.")
def main(directory: Path, rounds: int, peers: str, cores: int, scratch: Path | None, json_file: Path | None) -> None:
    """Measure data preparation on DIRECTORY, a synthetic ultrachat_200k."""
    patterns = [pattern.strip() for pattern in peers.split(",")]
    names = [name for name in CONTESTANTS if any(fnmatch(name, pattern) for pattern in patterns)]
    if not names:
        raise click.BadParameter(f"no contestant fits {peers!r}; there are {', '.join(CONTESTANTS)}")
    with benchmarking(scratch) as (console, folder):
        report = benchmark(directory, folder, names, rounds=rounds, cores=cores, log=console.print)
    _print(report, console)
    write_json(json_file, report)


if __name__ == "__main__":
    main()
