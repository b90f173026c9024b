"""A number belongs to whoever was born with it, and to nobody once that one has ended."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from phi_assets.processes import CLOCK_TOLERANCE_SECONDS, ProcessId, born_at, is_gone, this_process
from tests.clocks import set_the_clock
from tests.namespaces import lines_of


def test_a_process_is_known_from_its_birth_to_its_end() -> None:
    before = time.time()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = born_at(child.pid)
    assert born is not None
    assert abs(born - before) < CLOCK_TOLERANCE_SECONDS + 1
    child.communicate(b"\n")
    assert born_at(child.pid) is None


def test_one_that_nobody_has_reaped_is_dead() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert born_at(pid) is None
    os.waitpid(pid, 0)


def test_a_name_is_that_of_one_process_and_of_no_other() -> None:
    command = "from phi_assets.processes import this_process; print(this_process(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    machine, boot, number, start = name.split("/")
    assert this_process().split("/")[:2] == [machine, boot]
    assert int(number) == child.pid
    assert is_gone(name) is False
    assert is_gone(f"{machine}/{boot}/{number}/{start}0") is True  # the number has another owner now
    assert is_gone(f"{machine}/another-boot/{number}/{start}") is True
    assert is_gone(f"elsewhere/{boot}/{number}/{start}") is None
    assert is_gone("nonsense") is None
    child.communicate("\n")
    assert is_gone(name) is True


def test_at_its_end_a_process_looks_for_no_garbage() -> None:
    program = """
from phi_assets.processes import collect_seldom

class Left:
    def __del__(self):
        print("found")

left = Left()
left.itself = left
collect_seldom()
"""
    printed = [
        subprocess.run([sys.executable, "-c", each], check=True, capture_output=True, text=True).stdout
        for each in (program, program.replace("\ncollect_seldom()", ""))
    ]
    assert printed == ["", "found\n"]


@pytest.mark.parametrize("shift", [-3600, -2, -1, 1, 2, 3600])
def test_no_setting_of_the_clock_makes_another_process_of_one(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = ProcessId.of(child.pid)
    set_the_clock(monkeypatch, shift)
    assert process.is_alive()
    assert ProcessId(**process.document()).is_alive()
    child.communicate(b"\n")
    assert process.has_number() is None
    assert not process.is_alive()


def test_a_number_that_another_process_has_got_is_not_that_of_the_first() -> None:
    this = ProcessId.of(os.getpid())
    assert this.start is not None
    assert ProcessId(this.pid, this.created, this.start + "0").has_number() is False
    assert ProcessId(this.pid, this.created, f"another-boot/{this.start.partition('/')[2]}").has_number() is False
    # As earlier versions wrote it down.
    assert ProcessId(this.pid, this.created).is_alive()
    assert ProcessId(this.pid, this.created - 60).has_number() is False


def test_a_process_of_another_container_is_not_seen_from_here_whatever_the_host_is_called() -> None:
    program = "import sys; from phi_assets.processes import *; print(this_process()); print(is_gone(sys.argv[1]))"
    name, gone = lines_of(program, this_process())
    assert gone == "None"
    assert is_gone(name) is None
