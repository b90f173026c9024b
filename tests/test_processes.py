"""A number belongs to whoever was born with it, and to nobody once that one has ended."""

import os
import subprocess
import sys
import time

import psutil

from phi_assets.processes import CLOCK_TOLERANCE_SECONDS, born_at


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
