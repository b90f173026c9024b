"""The process that those of the deployments are copies of: it has imported what all of them need, and forks.

`python -m phi_assets.emulator.serving.processes.template`, started by `phi_assets.emulator.serving.processes.forking`.
Its standard input is a socket from which it reads one `Assignment` after the other, each with three descriptors: the
copy's standard input, its log, and the connection on which the emulator learns its process id and, when it has ended,
its exit status. What takes longest to import is imported when the first model comes that needs it. At the end of its
input, which comes at the latest when the emulator dies, it ends; its copies have inputs of their own.
"""

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing.connection import Connection

MAX_ASSIGNMENT_BYTES = 128 * 1024
_DESCRIPTORS = 3

_OF_SOME_MODELS = {
    "torch": (),
    "transformers": (
        "AutoModelForCausalLM",
        "AutoTokenizer",
        "GenerationMixin",
        "PreTrainedModel",
        "PreTrainedTokenizerFast",
    ),
}
"""Libraries that take seconds to import, and what of them is imported when it is first named."""


@dataclass(frozen=True)
class Assignment:
    """What a copy is to do, and where."""

    arguments: list[str]
    """Of `phi_assets.emulator.serving.inference.worker`."""
    environment: dict[str, str]
    cwd: str
    requirements: list[str]
    """Packages that the model says it needs."""

    @classmethod
    def from_bytes(cls, content: bytes) -> "Assignment":
        """Reads what `to_bytes` wrote."""
        return cls(**json.loads(content))

    def to_bytes(self) -> bytes:
        """As one message."""
        return json.dumps(asdict(self)).encode()


def import_libraries() -> None:
    """What every deployment's process needs before it looks at its model."""
    # What cannot be imported is for the copies to report, each in the log of its deployment.
    with _without_threads(), contextlib.suppress(ImportError):
        import mlflow.pyfunc  # noqa: F401
    import phi_assets.emulator.serving.inference.worker  # noqa: F401


def import_required(packages: Iterable[str]) -> None:
    """What of the packages takes longest to import is imported from now on, here and in all copies to come."""
    wanted = [name for name in _OF_SOME_MODELS if name in packages and name not in sys.modules]
    for name in wanted:
        # As above, what cannot be imported is for the copies to report.
        with _without_threads(), contextlib.suppress(Exception):
            module = import_module(name)
            for part in _OF_SOME_MODELS[name]:
                getattr(module, part)
    if wanted:
        gc.freeze()  # what the copies share stays shared


@contextlib.contextmanager
def _without_threads() -> Iterator[None]:
    """Importing polars starts threads, and a fork takes none along.

    Whoever is imported here does without it, and so can a model that imports it later: it is as new there.
    """
    sys.modules["polars"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["polars"]


def next_copy(control: socket.socket) -> Assignment:
    """Forks for each assignment, and returns in the copies only, each ready for its own.

    The template itself exits here, at the end of its input.
    """
    wakeup, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    copies: dict[int, Connection] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if wakeup in ready:
                os.read(wakeup, 4096)
                _report_ended(copies)
            if control.fileno() not in ready:
                continue
            content, descriptors, _, _ = socket.recv_fds(control, MAX_ASSIGNMENT_BYTES, _DESCRIPTORS)
            if not content:
                sys.exit()
            assignment = Assignment.from_bytes(content)
            import_required(assignment.requirements)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (wakeup, alarm):
                    os.close(descriptor)
                for connection in copies.values():
                    connection.close()
                break
            standard_input, log, report = descriptors
            os.close(standard_input)
            os.close(log)
            copies[pid] = Connection(report, readable=False)
            _tell(copies[pid], pid)
    _become(assignment, *descriptors)
    control.detach()  # its descriptor is the copy's own standard input now
    return assignment


def _report_ended(copies: dict[int, Connection]) -> None:
    for pid in list(copies):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            connection = copies.pop(pid)
            _tell(connection, os.waitstatus_to_exitcode(status))
            connection.close()


def _tell(connection: Connection, number: int) -> None:
    with contextlib.suppress(OSError):  # the emulator has lost interest in this copy
        connection.send(number)


def _become(assignment: Assignment, standard_input: int, log: int, report: int) -> None:
    """The process is as if it had been started for its assignment."""
    os.setsid()  # Ctrl-C in the emulator's terminal is for the emulator to handle
    os.close(report)
    for source, target in ((standard_input, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(standard_input)
    os.close(log)
    os.environ.clear()
    os.environ.update(assignment.environment)
    os.chdir(assignment.cwd)
    # `random` does this by itself. Workers of one deployment must not draw the same numbers.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def main() -> None:
    """Becomes the inference server that it is told to be, in a copy."""
    import_libraries()
    gc.freeze()
    assignment = next_copy(socket.socket(fileno=0))
    from phi_assets.emulator.serving.inference.worker import main as serve

    serve(assignment.arguments, prog_name="inference-server")


if __name__ == "__main__":
    main()
