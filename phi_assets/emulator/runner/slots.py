"""Places for running steps, of which there are as many as processors."""

import threading
from collections.abc import Callable


class Interrupted(Exception):
    """The job was canceled, or the emulator stops."""


class Slot:
    """One of the places for running steps; waiting for it ends, with Interrupted, when the job is interrupted."""

    _LOOK_SECONDS = 0.25

    def __init__(self, slots: threading.Semaphore, interrupted: Callable[[], bool]):
        self._slots = slots
        self._interrupted = interrupted

    def __enter__(self) -> None:
        while not self._slots.acquire(timeout=self._LOOK_SECONDS):
            if self._interrupted():
                raise Interrupted

    def __exit__(self, *_: object) -> None:
        self._slots.release()
