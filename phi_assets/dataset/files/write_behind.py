"""Large files that are cheap to write and do not fill the page cache."""

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

_PIECE_BYTES = 16 << 20
"""Bytes after which what has been written is sent to the disk."""

_MOST_ROOM_BYTES = 64 << 20
_LEAST_ROOM_BYTES = 1 << 20
"""Room that is taken on the disk at once is as much as the file has already, between these two: a small file takes
none, and none takes much more than it needs from a disk that is nearly full."""

_IS_POSSIBLE = all(hasattr(os, name) for name in ("posix_fadvise", "fdatasync", "posix_fallocate"))
"""macOS and Windows have none of them."""


class WriteBehind:
    """Takes room for a growing file, has the system write it out in the background, and then forget what it kept of it.

    Room found for one page after the other takes a fifth of the time in which gigabytes are written.

    Its pages go on to hold what is written next. New ones are dear on a virtual machine, whose host has to find memory
    for each: 1.5 GB were written in 0.8 s of processor time instead of 3.4 s. Nor does a file that is read once, later,
    push out what others read often. The writer never waits: while the disk is slower, pages pile up as they always do.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = self._room = self._sent = 0
        self._descriptor = -1
        self._thread: ThreadPoolExecutor | None = None
        self._underway: Future[None] | None = None

    def grown_to(self, size: int) -> None:
        """The file has that many bytes now; some of the last ones may still lie in the writer's buffer.

        Raises:
            OSError: what was written before did not reach the disk.
        """
        self._size = size
        if not _IS_POSSIBLE:
            return
        if size > self._room and size >= _LEAST_ROOM_BYTES:
            self._take_room()
        if size - self._sent < _PIECE_BYTES or not self._is_idle():
            return
        if self._thread is None:
            # One of its own: the writer may close the file while a piece is on its way.
            self._descriptor = os.dup(self._file.fileno())
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-behind")
        self._underway = self._thread.submit(_send, self._descriptor, size)
        self._sent = size

    def close(self) -> None:
        """The file does not grow any more. A piece that is on its way arrives; nobody waits for it.

        Raises:
            OSError: as `grown_to`.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(os.close, self._descriptor)
            thread.shutdown(wait=False)
        if self._room:
            os.ftruncate(self._file.fileno(), self._size)
        self._is_idle()

    def _take_room(self) -> None:
        more = min(self._size, _MOST_ROOM_BYTES)
        try:
            os.posix_fallocate(self._file.fileno(), self._size, more)
            self._room = self._size + more
        except OSError:
            # The file system does not know how, or is nearly full: writing will tell whether it is too full.
            os.ftruncate(self._file.fileno(), self._size)
            self._room = sys.maxsize

    def _is_idle(self) -> bool:
        if self._underway is None:
            return True
        if not self._underway.done():
            return False
        self._underway.result()
        return True


def _send(descriptor: int, end: int) -> None:
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, 0, end, os.POSIX_FADV_DONTNEED)
