"""What the steps print reaches whoever waits: every line, once, in little memory."""

import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.training.history import RunHistory
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.azureml.training.logs import PIECE_BYTES
from phi_assets.emulator.process import Connection
from phi_assets.emulator.store.state import Store
from phi_assets.refs import JobRef
from tests.azureml.toys import make_request
from tests.azureml.training.waiting_room import Lines, Submissions
from tests.emulator_requests import Requests


class RunningJob:
    """A toy job that waits at its gate while the test writes on in the log of its step."""

    def __init__(self, waiting: Future[JobRef], gate: Path, log_file: Path, log: Lines, output: Lines) -> None:
        self._waiting, self._gate, self._log_file = waiting, gate, log_file
        self.log, self.output = log, output

    def write(self, content: bytes) -> None:
        with self._log_file.open("ab") as file:
            file.write(content)

    def add_log(self, emulator: Connection, name: str, content: str) -> None:
        """A further log of the step, which the service names beside the first."""
        file = self._log_file.with_name(name)
        file.write_text(content)
        blob = file.relative_to(emulator.directory / "blobs").as_posix()
        run_id = file.parent.parent.name.removeprefix("dcid.")
        store = Store(next(emulator.directory.glob("*.sqlite*")))
        store.update("run", run_id, lambda run: run | {"logs": run["logs"] | {f"user_logs/{name}": blob}})

    def finish(self) -> list[str]:
        """Everything that was put out after the step's own four lines, once the job has ended."""
        self._gate.touch()
        self._waiting.result(120)
        own, rest = self.output[:4], self.output[4:]
        assert [line.split(" | ")[0] for line in own] == ["toy_step"] * 4
        return [line.removeprefix("toy_step | ") for line in rest]


Start = Callable[..., RunningJob]


@pytest.fixture
def start(
    toys: Workspace, tmp_path: Path, gate: Path, emulator: Connection, background: ThreadPoolExecutor
) -> Iterator[Start]:
    def start(output: Lines | None = None) -> RunningJob:
        log, output, submissions = Lines(), Lines() if output is None else output, Submissions()
        request = make_request(toys, tmp_path, gate=str(gate))
        waiting = background.submit(ensure_job, toys, request=request, log=log, on_submitted=submissions, output=output)
        name = submissions.first().name
        log.expect("'loss': 1.0")
        step = list(RunHistory(toys).descendants(name))[-1]
        (file,) = emulator.directory.rglob(f"dcid.{step.run_id}/user_logs/std_log.txt")
        return RunningJob(waiting, gate, file, log, output)

    yield start
    gate.touch()


def test_lines_come_while_the_step_runs_and_only_when_they_are_complete(start: Start) -> None:
    job = start()
    job.write(b"first\n\nsec")
    job.output.expect("toy_step | first")
    assert not any("sec" in line for line in job.output)
    job.write(b"ond\nno end")
    job.output.expect("toy_step | second")
    assert job.finish() == ["first", "", "second", "no end"]


def test_the_log_of_the_run_gets_lines_about_the_loss_only(start: Start) -> None:
    job = start()
    job.write(b"loading the loss function\nglossary 1\n{'eval_loss': 0.7}\ntrain_loss=nan\nDownloading: 50%\n")
    assert len(job.finish()) == 5
    assert [line for line in job.log if " | " in line][3:] == [
        "  toy_step | {'eval_loss': 0.7}",
        "  toy_step | train_loss=nan",
    ]


def test_a_progress_bar_is_its_last_state(start: Start) -> None:
    job = start()
    job.write(b"  0%|\r 50%|\r100%|\nwindows\r\n  1%\r  2%")
    assert job.finish() == ["100%|", "windows", "  2%"]


def test_a_progress_bar_longer_than_a_piece_is_its_last_state(start: Start) -> None:
    job = start()
    state = b"%7d of many things have been done so far\r"
    job.write(b"".join(state % number for number in range(3 * PIECE_BYTES // len(state % 0))) + b"done\nnext\n")
    assert job.finish() == ["done", "next"]


def test_a_line_longer_than_a_piece_is_cut_and_complete(start: Start) -> None:
    job = start()
    job.write(b"a" * (2 * PIECE_BYTES + 5) + b"\nnext\n")
    lines = job.finish()
    assert [len(line) for line in lines] == [PIECE_BYTES, PIECE_BYTES, 5, 4]
    assert set("".join(lines[:3])) == {"a"}


def test_other_text_than_utf_8_is_shown_as_far_as_it_goes(start: Start) -> None:
    job = start()
    job.write(b"caf\xe9 \xc3\xa9\n")
    assert job.finish() == ["caf\ufffd é"]


def test_logs_of_further_processes_are_told_apart(start: Start, emulator: Connection) -> None:
    job = start()
    for name in ("std_log_process_1.txt", "std_log_process_0.txt", "std_logbook.md"):
        job.add_log(emulator, name, f"I am {name[-5]}, my loss is 1\n")
    lines = job.finish()
    # std_log.txt comes first, and only the first process speaks to the log of the run.
    assert sorted(lines) == [
        f"toy_step std_log_process_{number}.txt | I am {number}, my loss is 1" for number in (0, 1)
    ]
    assert not any("I am" in line for line in job.log)


class Counting(Lines):
    """Checks numbered lines without keeping them."""

    def __init__(self) -> None:
        super().__init__()
        self.next = 0
        self.size = 0

    def __call__(self, line: str) -> None:
        if " | line " not in line:
            super().__call__(line)
            return
        assert int(line.split()[3]) == self.next, f"{line[:40]} instead of {self.next}"
        self.next += 1
        self.size += len(line) - len("toy_step | ") + 1


@pytest.mark.slow
def test_fifty_megabytes_pass_in_little_memory_without_a_line_lost_or_doubled(
    start: Start, emulator: Connection
) -> None:
    output = Counting()
    job = start(output)
    block = [b"".join(b"line %09d %s\n" % (number, b"x" * 984) for number in range(at, at + 5_000))
             for at in range(0, 50_000, 5_000)]  # fmt: skip
    assert sum(map(len, block)) == 50_000_000
    tracemalloc.start()
    try:
        with Requests(emulator) as requests:
            while block:
                job.write(block.pop(0))
            job.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (output.next, output.size) == (50_000, 50_000_000)
    assert peak < 10_000_000
    pieces = [line for line in requests.lines if line.endswith("std_log.txt")]
    assert 48 <= len(pieces) <= 90
