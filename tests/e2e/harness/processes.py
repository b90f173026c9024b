"""Programs that a test starts: their group, a port for them, and patience with them."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psutil
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

T = TypeVar("T")

POLL_SECONDS = 0.1
_END_SECONDS = 15


class Forked(psutil.Process):
    """A process that another one has forked, which does not keep what is left of it."""

    def poll(self) -> int | None:
        """As of a child: None while it runs."""
        return None if self.is_running() else 0


Program = subprocess.Popen[bytes] | Forked


def until(ask: Callable[[], T | None], timeout: float, complaint: str, poll_seconds: float = POLL_SECONDS) -> T:
    """The first answer of `ask` that is not None.

    Raises:
        TimeoutError: there was none within `timeout` seconds; the message is the complaint.
    """
    retrying = Retrying(
        retry=retry_if_result(lambda answer: answer is None),
        stop=stop_after_delay(timeout),
        wait=wait_fixed(poll_seconds),
    )
    try:
        answer = retrying(ask)
    except RetryError as error:
        raise TimeoutError(f"{complaint} after {timeout:.0f} s") from error
    assert answer is not None
    return answer


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections to a port of the loopback interface."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def end_group(leader: Program, *signals: signal.Signals) -> None:
    """The process and all that it or others started in its group have ended; SIGTERM, then SIGKILL unless given."""
    for sign in signals or (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(leader.pid, sign)
        except ProcessLookupError:
            break
        members = [member for member in psutil.process_iter() if _group(member) == leader.pid]
        psutil.wait_procs(members, timeout=_END_SECONDS)
    leader.wait()


def end(program: Program) -> None:
    """It has got SIGTERM until it ended: Python drops an interrupt that comes while it runs a destructor."""
    while program.poll() is None:
        program.terminate()
        with suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
            program.wait(timeout=_END_SECONDS)


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None
