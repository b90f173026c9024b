"""A step's process group is found and ended, whatever becomes of the clock meanwhile."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from phi_assets.emulator.runner.steps import StepProcess, end_group
from phi_assets.processes import ProcessId
from tests.clocks import set_the_clock
from tests.emulator.jobs import until

WAITS = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
# A killed process gives its memory back before it has ended.
BIG = [sys.executable, "-c", "import time; kept = b'1' * 2**28; print('here', flush=True); time.sleep(60)"]


@pytest.mark.parametrize("shift", [-3600, -1, 1, 3600])
def test_a_step_is_ended_after_the_clock_was_set(shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = StepProcess(WAITS, tmp_path, dict(os.environ), tmp_path / "log.txt")
    set_the_clock(monkeypatch, shift)
    step.stop(grace_seconds=30)
    assert step.wait() < 0


@pytest.mark.parametrize("shift", [-3600, -1, 1, 3600])
def test_an_orphan_is_ended_after_the_clock_was_set(shift: int, tmp_path: Path) -> None:
    step = StepProcess(WAITS, tmp_path, dict(os.environ), tmp_path / "log.txt")
    written_down = step.id.document()
    written_down["created"] += shift  # what the next emulator's psutil would not say any more
    assert end_group(ProcessId(**written_down), grace_seconds=30) == 1
    assert step.wait() < 0


def test_the_group_outlives_its_leader_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    leader = [sys.executable, "-c", f"import subprocess; print(subprocess.Popen({BIG!r}).pid, flush=True)"]
    log = tmp_path / "log.txt"
    step = StepProcess(leader, tmp_path, dict(os.environ), log)
    until(lambda: "here" in log.read_text(), "the grandchild to start")
    grandchild = psutil.Process(int(log.read_text().split()[0]))
    until(lambda: step.id.has_number() is None or not step.id.is_alive(), "the leader to end")
    assert step.wait() == 0
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_a_number_with_another_owner_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen(WAITS, start_new_session=True, stdout=subprocess.DEVNULL)
    found = ProcessId.of(bystander.pid)
    for other in ("another-boot/1", f"{found.start}0"):
        assert end_group(replace(found, start=other), grace_seconds=0) == 0
    time.sleep(0.1)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
