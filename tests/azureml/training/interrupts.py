"""Interrupts as an orchestrator sends them."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest


class Interrupted(BaseException):
    """Like the orchestrator's own: raised by a signal handler, and no Exception."""


@contextmanager
def interrupted(after: Callable[[], object]) -> Iterator[None]:
    """The block gets a signal when `after` returns in another thread, and must end with it."""

    def raise_it(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    def send() -> None:
        after()
        signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, raise_it)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        sender.join(60)
        signal.signal(signal.SIGUSR1, before)
