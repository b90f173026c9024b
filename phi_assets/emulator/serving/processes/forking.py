"""Starts the processes of deployments as copies of a template, which spares each the seconds of its imports."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO

from phi_assets.emulator.serving.processes.launch import Launch
from phi_assets.emulator.serving.processes.template import MAX_ASSIGNMENT_BYTES, Assignment

_START_SECONDS = 60.0

_READ_AT_START = (
    "ACCELERATE_",
    "ARROW_",
    "ATEN_",
    "CUBLAS_",
    "CUDA_",
    "CUDNN_",
    "GOTO_",
    "HF_",
    "HOME",
    "HUGGINGFACE_",
    "KMP_",
    "LANG",
    "LC_",
    "LD_",
    "MALLOC_",
    "MIMALLOC_",
    "MKL_",
    "MLFLOW_",
    "NCCL_",
    "NPY_",
    "NUMEXPR_",
    "OMP_",
    "OPENBLAS_",
    "OTEL_",
    "PYTHON",
    "PYTORCH_",
    "SAFETENSORS_",
    "TOKENIZERS_",
    "TORCH",
    "TRANSFORMERS_",
    "TZ",
    "USE_",
    "XDG_",
    "_RJEM_",
)
"""Beginnings of the variables that the interpreter or a library looks at once, when it is loaded."""


class TemplateError(Exception):
    """There is no template, or it is of no use for this process: it has to be started from scratch."""


class ForkedProcess:
    """A copy of the template; the part of `subprocess.Popen` that is needed of it.

    It ends at the end of its input, which this object holds the other end of.
    """

    def __init__(self, pid: int, reports: Connection, standard_input: IO[bytes]) -> None:
        self.pid = pid
        self.stdin = standard_input
        self.returncode: int | None = None
        self._reports = reports
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        with self._lock:
            if self.returncode is None and self._reports.poll():
                try:
                    self.returncode = self._reports.recv()
                except (EOFError, OSError):
                    # The template is gone, so nobody will ever know how the copy ends: it does so now.
                    self.stdin.close()
                    self.returncode = -signal.SIGKILL
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, as soon as it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not after `timeout` seconds.
        """
        if self.returncode is None:
            self._reports.poll(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def terminate(self) -> None:
        """Asks it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Template:
    """The template's process, which is started when it is first needed, and again should it be gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self, arguments: list[str], launch: Launch, log: int, cwd: Path) -> ForkedProcess:
        """A new inference server with these arguments, which writes to the descriptor `log`.

        Raises:
            TemplateError: not this one, or not on this machine.
        """
        if any(name.startswith(_READ_AT_START) for name in launch.environment):
            raise TemplateError("A variable of the deployment is one that libraries read when they are loaded.")
        assignment = Assignment(arguments, launch.process_environment(os.environ), str(cwd), launch.requirements)
        read_end, write_end = os.pipe()
        standard_input = os.fdopen(write_end, "wb", buffering=0)
        try:
            with self._lock:
                control = self._running()
            return copy_of(control, assignment, read_end, log, standard_input)
        except (OSError, EOFError) as error:
            self.stop()
            standard_input.close()
            raise TemplateError(f"The template is gone: {error}") from error
        except BaseException:
            standard_input.close()  # a copy that comes too late ends at once
            raise
        finally:
            os.close(read_end)

    def stop(self) -> None:
        """Ends the template; its copies go on, but nobody learns any more how they end."""
        with self._lock:
            if self._process is not None and self._control is not None:
                self._control.close()
                self._process.kill()
                self._process.wait()
            self._process = self._control = None

    def _running(self) -> socket.socket:
        """The socket of a template that lives."""
        if sys.platform != "linux":
            # Apple's frameworks do not survive a fork.
            raise TemplateError("Processes are forked on Linux only.")
        if self._process is not None and self._control is not None and self._process.poll() is None:
            return self._control
        if self._control is not None:
            self._control.close()
        # Of any deployment: what is a model's own, the copies get.
        environment = Launch(folder="", environment={}).process_environment(os.environ)
        # A kind of socket whose messages arrive whole, with nothing of the next one.
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = _program(theirs, environment)
        return self._control


def copy_of(
    control: socket.socket, assignment: Assignment, standard_input: int, log: int, held: IO[bytes]
) -> ForkedProcess:
    """A new copy of the template behind `control`, with these descriptors; `held` is the other end of its input.

    Raises:
        TemplateError: it cannot be sent what it is to do, or does not answer.
        OSError, EOFError: it is gone.
    """
    message = assignment.to_bytes()
    if len(message) > MAX_ASSIGNMENT_BYTES:
        raise TemplateError("The environment is too large to be sent.")
    reports, reporter = Pipe(duplex=False)
    with reporter:
        socket.send_fds(control, [message], [standard_input, log, reporter.fileno()])
    if not reports.poll(_START_SECONDS):
        raise TemplateError("The template does not answer.")
    return ForkedProcess(reports.recv(), reports, held)


def _program(control: socket.socket, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # Nothing is imported from the working directory, which is left to nobody's model.
        [sys.executable, "-P", "-m", "phi_assets.emulator.serving.processes.template"],
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        cwd="/",
        env=environment,
        start_new_session=True,
    )
