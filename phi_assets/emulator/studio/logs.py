"""Logs of runs: which of them a page shows, and the end of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from phi_assets.emulator.runner.records import TERMINAL, Run
from phi_assets.emulator.studio.words import plain, seconds_between
from phi_assets.emulator.workspace.context import Emulator

_TAIL_BYTES = 48 * 1024


@dataclass(frozen=True)
class LogFile:
    """A log that can be chosen; `key` is `<run id>/<name>`."""

    key: str
    title: str
    run_id: str
    name: str


@dataclass(frozen=True)
class Tail:
    """The end of a log; `left_out` bytes come before it."""

    file: LogFile
    text: str
    left_out: int


def log_files(runs: Sequence[Run]) -> list[LogFile]:
    """All logs of the runs, in their order."""
    return [
        LogFile(f"{run['run_id']}/{name}", _title(run, name), run["run_id"], name)
        for run in runs
        for name in sorted(run["logs"])
    ]


def tail_of(emulator: Emulator, runs: Sequence[Run], chosen: str | None) -> Tail | None:
    """The end of the chosen log, or of the one that says most about the job now; None while there is no log."""
    files = log_files(runs)
    wanted = chosen or _telling(runs)
    file = next((file for file in files if wanted in {file.key, file.run_id}), files[0] if files else None)
    if file is None:
        return None
    run = next(run for run in runs if run["run_id"] == file.run_id)
    content, left_out = read_log(emulator, run, file.name, _TAIL_BYTES)
    if left_out:
        content = content.partition("\n")[2]
    return Tail(file, plain(content), left_out)


def read_log(emulator: Emulator, run: Run, name: str, most: int | None = None) -> tuple[str, int]:
    """The last `most` bytes of a log that the run has, and how many come before them."""
    path = emulator.blobs.path(*run["logs"][name].split("/", 1))
    if not path.is_file():
        return "", 0
    with path.open("rb") as file:
        before = max(0, path.stat().st_size - most) if most is not None else 0
        file.seek(before)
        return file.read().decode("utf-8", errors="replace"), before


def _telling(runs: Sequence[Run]) -> str | None:
    """Id of the run that runs now, else of the one that failed, else of the one that took longest."""
    steps = [run for run in runs if run["logs"] and run["run_id"] != run["root_run_id"]]
    for among in (
        [run for run in steps if run["status"] not in TERMINAL],
        [run for run in steps if run["status"] == "Failed"],
    ):
        if among:
            return among[-1]["run_id"]
    if not steps:
        return None
    return max(steps, key=lambda run: seconds_between(run["started"], run["ended"]) or 0)["run_id"]


def _title(run: Run, name: str) -> str:
    where = "job" if run["run_id"] == run["root_run_id"] else run["display_name"]
    return where if name.endswith(("std_log.txt", "executionlogs.txt")) else f"{where}: {name}"
