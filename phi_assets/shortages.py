"""What a machine can run out of beside room on its disk; nothing is damaged by it."""

import errno
import os
from collections.abc import Mapping

WANTED: Mapping[int, str] = {
    errno.EMFILE: "file descriptors (`ulimit -n`)",
    errno.ENFILE: "file descriptors (of the whole machine)",
    errno.ENOMEM: "memory",
    errno.EAGAIN: "threads or processes (`ulimit -u`), or memory for them",
}
"""By the system's number of the error."""


def shortage(error: BaseException) -> str | None:
    """What of the machine there was no more of, for people; None where the error has another cause.

    Libraries that are not written in Python pass on no more than the system's text.
    """
    if isinstance(error, MemoryError):
        return WANTED[errno.ENOMEM]
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return WANTED[errno.EAGAIN]
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        text = str(error)
        number = next((number for number in WANTED if os.strerror(number) in text), None)
    return WANTED.get(number or 0)
