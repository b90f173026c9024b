"""xdist's workers are forked from one process that has collected the tests: all of them together import once.

They begin and end as any others: the program that xdist starts for one asks for a fork, hands it what it got as
standard input and output, and stays until the fork has ended. Where it is killed, the fork is as well.
"""

import atexit
import gc
import os
import select
import shlex
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NoReturn

import pytest

_PROGRAM = """
import signal, socket, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
with socket.socket(socket.AF_UNIX) as template:
    template.connect(sys.argv[1])
    socket.send_fds(template, [b" "], [0, 1, 2])
    template.recv(1)
"""


def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Nothing has been started yet, so this process has one thread and can be forked."""
    folder = TemporaryDirectory(prefix="phi-workers-")
    address = Path(folder.name, "fork")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    over, here = os.pipe()
    # Where they find `tests.e2e.harness.template`, which is one for all of them.
    os.environ["PHI_TEST_FORKS"] = str(Path(folder.name, "template"))
    template = os.fork()
    if template == 0:
        os.close(here)
        _serve(config, listener, over)
    listener.close()
    os.close(over)
    program = Path(folder.name, "program.py")
    program.write_text(_PROGRAM, encoding="utf-8")
    for spec in specs:
        spec.python = shlex.join([sys.executable, "-I", "-S", str(program), str(address)])

    def end() -> None:
        os.close(here)
        os.waitpid(template, 0)
        folder.cleanup()

    config.add_cleanup(end)


def _serve(config: pytest.Config, listener: socket.socket, over: int) -> NoReturn:
    """Forks for each who asks, until the process ends which this one was forked from."""
    code = 1
    try:
        # What there is to say about the tests is said by the workers.
        config.pluginmanager.unregister(name="terminalreporter")
        session = config.pluginmanager.get_plugin("session")
        assert isinstance(session, pytest.Session)
        gc.disable()
        # What cannot be collected is told by the workers too: each collects for itself what has been imported here.
        with suppress(Exception):
            session.perform_collect()
        gc.freeze()  # what has been imported stays, and is looked through by no worker
        gc.enable()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, _reap)
        while over not in select.select([listener, over], [], [])[0]:
            asking, _ = listener.accept()
            _, files, _, _ = socket.recv_fds(asking, 1, 3)
            if os.fork() == 0:
                listener.close()
                os.close(over)
                _work(asking, files)
            asking.close()
            for file in files:
                os.close(file)
        with suppress(ChildProcessError):
            os.wait()
        code = 0
    finally:
        os._exit(code)


def _reap(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _work(asking: socket.socket, files: list[int]) -> NoReturn:
    """What execnet's command line for a worker does, in a process like one that was started with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode, 1, closefd=False) for number, mode in enumerate("rww"))
    sys.argv = ["-c"]
    # What is started by `multiprocessing` would import the main module of this process.
    sys.modules["__main__"] = ModuleType("__main__")
    threading.Thread(target=_end_with, args=[asking], daemon=True).start()
    try:
        exec(eval(sys.stdin.readline()), {"__name__": "__main__"})
    except Exception:
        traceback.print_exc()
    finally:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
        atexit._run_exitfuncs()
        asking.shutdown(socket.SHUT_RDWR)
        os._exit(0)


def _end_with(asking: socket.socket) -> None:
    if not asking.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)
