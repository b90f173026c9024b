"""Processes that were written down: by their numbers, which are given again, or by a name that no other ever has."""

import os
import platform
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

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


def this_process() -> str:
    """`<machine>/<boot>/<number>/<start>`: no other process, on any machine, has had or will have this name.

    Where the kernel tells them, boot and start are its own id and its own ticks, which no change of the clock moves.
    """
    name = _name(os.getpid())
    assert name is not None
    return name


def is_gone(name: str) -> bool | None:
    """Whether the process of that name has ended; None where it cannot be seen from here, being on another machine."""
    machine, _, rest = name.partition("/")
    number = rest.split("/")[-2] if rest.count("/") == 2 else ""
    if machine != platform.node() or not number.isdecimal():
        return None
    return _name(int(number)) != name


def _name(pid: int) -> str | None:
    """None where no process of this number is alive."""
    born = born_at(pid)
    if born is None:
        return None
    if not _BOOT_ID.exists():
        return f"{platform.node()}/-/{pid}/{born:.1f}"
    try:
        # The command, in parentheses, may have anything in it.
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return f"{platform.node()}/{_BOOT_ID.read_text().strip()}/{pid}/{ticks}"
