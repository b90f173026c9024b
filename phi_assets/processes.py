"""Processes that were written down by their numbers, which are given again: when was the one born that has it now?"""

import psutil

CLOCK_TOLERANCE_SECONDS = 2.0
"""The kernel's idea of the boot time, from which psutil computes, moves a little when the clock is set."""


def born_at(pid: int) -> float | None:
    """When the process of this number was created, in seconds since the epoch; None where none of it is alive."""
    try:
        process = psutil.Process(pid)
        # One that nobody has reaped keeps its number.
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
