"""Emulators of the tests are forked from one process, and so is what their deployments are forked from.

They end like those that are started, and outlive this process like them: `process.ensure_running` in a test does not
show the difference, but that it takes no second for imports. What other processes start are programs, and so is
whatever a test starts with the fixture `emulator_programs`.
"""

import atexit
import gc
import io
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest

from phi_assets.emulator import process
from phi_assets.emulator.serving.processes import forking, template
from phi_assets.emulator.serving.processes.launch import Launch

_SERVER = "phi_assets.emulator.server.serve"
_INFERENCE = ("mlflow.pyfunc", "phi_assets.emulator.serving.inference.worker")
_LANGUAGE_MODELS = ("torch", "transformers")
_PROGRAM = process._spawn

_asked: list[socket.socket] = []
"""Where the tests' processes, which are forks of one, ask for a fork; empty where there is no such process."""


def pytest_configure(config: pytest.Config) -> None:
    """Nothing has been started yet, so this process has one thread and can be forked."""
    if sys.platform != "linux" or hasattr(config, "workerinput"):
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if (pid := os.fork()) == 0:
        ours.close()
        _serve(theirs, many=bool(config.getoption("numprocesses", None)))
    theirs.close()
    _asked.append(ours)

    def end() -> None:
        # An emulator that is left over keeps the process, as it may need it.
        ours.close()
        os.waitpid(pid, os.WNOHANG)

    config.add_cleanup(end)


@pytest.fixture(scope="session", autouse=True)
def _emulators_are_forked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for control in _asked:
            patch.setattr(process, "_spawn", partial(_fork_emulator, control))
        yield


@pytest.fixture(scope="module")
def emulator_programs() -> Iterator[None]:
    """Emulators that the module starts are programs, and so is what their deployments are forked from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "_spawn", _PROGRAM)
        yield


def _fork_emulator(control: socket.socket, directory: Path) -> forking.ForkedProcess:
    arguments = ["emulator", "serve", "--directory", str(directory)]
    if "PYTEST_XDIST_WORKER" in os.environ:
        arguments[0] = "emulator among many"
    assignment = template.Assignment(arguments, process.environment_of_server(), str(directory), [_SERVER])
    output = os.open(directory / process._OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return forking.copy_of(control, assignment, control.fileno(), output, io.BytesIO())
    finally:
        os.close(output)


def _serve(control: socket.socket, *, many: bool) -> NoReturn:
    """Forks for each who asks, and ends when nobody is left who could; many will ask."""
    code: Any = 1
    try:
        _settle()
        template._OF_SOME_MODELS = dict.fromkeys((_SERVER, *_INFERENCE), ()) | template._OF_SOME_MODELS
        if many:
            # While the tests are collected, another core has nothing to do.
            template.import_required(template._OF_SOME_MODELS)
        number = control.fileno()
        assignment = template.next_copy(control)
        os.close(number)
        # It is a copy from here on.
        if assignment.arguments[0] == "template":
            sys.dont_write_bytecode = True  # its variables say so
            template.main()
        else:
            _be_emulator(*assignment.arguments)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
        atexit._run_exitfuncs()
        os._exit(code)


def _settle() -> None:
    """The process has nothing of pytest's, and the variables that libraries find when a deployment imports them."""
    os.setsid()  # Ctrl-C is for pytest to handle
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit._clear()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    os.environ.clear()
    os.environ.update(Launch(folder="", environment={}).process_environment(ours) | {"HF_HOME": os.devnull})
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode, 1, closefd=False) for number, mode in enumerate("rww"))
    gc.freeze()  # what the copies share stays shared


def _be_emulator(kind: str, *arguments: str) -> None:
    Path("/proc/self/comm").write_text("phi-emulator")  # by which whoever looks for it finds it
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    imports = [*_INFERENCE, *(_LANGUAGE_MODELS if "many" in kind else ())]
    replaced: Any = forking
    replaced._program = partial(_fork_template, control, imports)
    import_module("phi_assets.emulator.__main__").main(arguments, prog_name="phi_assets.emulator")


def _fork_template(
    control: socket.socket, imports: list[str], theirs: socket.socket, environment: dict[str, str]
) -> forking.ForkedProcess:
    with open(os.devnull, "wb") as nothing:
        assignment = template.Assignment(["template"], environment, "/", imports)
        return forking.copy_of(control, assignment, theirs.fileno(), nothing.fileno(), io.BytesIO())
