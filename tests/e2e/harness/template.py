"""A process with the seconds of imports behind it, of which code servers, daemons, run workers and commands are forked.

The first one who needs it starts it, for all of xdist's workers; it ends with the last one who has asked it. Each line
that it reads is a `Fork` as JSON, and what it answers the id of a process.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from select import select
from typing import Any, NoReturn

from filelock import FileLock

from phi_assets.config.settings import PROJECT_ROOT
from tests.e2e.harness.processes import Forked

_IMPORTS = (
    "tests.e2e.harness.code_server",
    "tests.e2e.harness.daemon",
    "tests.e2e.harness.command",
    "tests.e2e.harness.worker",
    # The last one: it sees to what has been imported.
    "tests.e2e.harness.worker_imports",
)


@dataclass(frozen=True)
class Fork:
    """The `main` of a module, as it would be as a program with these arguments."""

    module: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    log: str
    group: int
    """The process group; 0 for one of its own."""


def fork(module: str, arguments: Sequence[str], env: Mapping[str, str], log: Path, group: int) -> Forked:
    """The program runs, and prints into the log."""
    return Forked(_ask(Fork(module, [*arguments], {**env}, str(log), group)))


def serve_forks() -> None:
    """The server of `multiprocessing`, from which processes of this one are forked, is itself forked."""
    server: Any = forkserver._forkserver
    if server._forkserver_pid is None:
        # It comes first, and is a program.
        resource_tracker.ensure_running()
        original, util.spawnv_passfds = util.spawnv_passfds, _fork_the_server
        forkserver.ensure_running()
        util.spawnv_passfds = original
        # Or it would wait for it as for a child.
        server.ensure_running = lambda: None


def _fork_the_server(_: object, __: object, fds: list[int]) -> int:
    return _ask(Fork(__name__, [], {**os.environ}, os.devnull, os.getpgrp()), fds)


def _ask(wanted: Fork, files: Sequence[int] = ()) -> int:
    template = _template()
    text = json.dumps(asdict(wanted)).encode()
    socket.send_fds(template, [text[:1]], files)
    template.sendall(text[1:] + b"\n")
    return int(template.recv(100))


@cache
def _template() -> socket.socket:
    """A connection to it."""
    address = os.environ["PHI_TEST_FORKS"]
    asking = socket.socket(socket.AF_UNIX)
    with FileLock(f"{address}.lock"):
        with suppress(FileNotFoundError):
            asking.connect(address)
            return asking
        # Dagster reads it when it is imported.
        env = {**os.environ, "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1"}
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
                cwd=PROJECT_ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
            )
        asking.connect(address)
    return asking


def run(files: Sequence[int]) -> None:
    """The server of `multiprocessing`, which has these ends of a socket and a pipe."""
    forkserver.main(*files, preload=[])


def _become(wanted: dict[str, Any], files: Sequence[int]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(wanted["env"])
    code: Any = 1
    try:
        sys.argv = [wanted["module"], *wanted["arguments"]]
        program = import_module(wanted["module"]).run
        program(files) if files else program()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def _serve(listener: socket.socket) -> None:
    # Nobody waits for them here.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    address, clients = listener.getsockname(), list[socket.socket]()
    while True:
        for ready in select([listener, *clients], [], [])[0]:
            if ready is listener:
                clients.append(listener.accept()[0])
            elif not _answer(ready, [listener, *clients]):
                clients.remove(ready)
                ready.close()
        if not clients:
            with FileLock(f"{address}.lock"):
                if not select([listener], [], [], 0)[0]:
                    os.unlink(address)
                    return


def _answer(client: socket.socket, ours: Sequence[socket.socket]) -> bool:
    """A process is forked, without these; False where the client has gone."""
    text, files = b"", list[int]()
    with suppress(ConnectionError):
        text, files, _, _ = socket.recv_fds(client, 1, 2)
        while text and not text.endswith(b"\n") and (more := client.recv(1 << 20)):
            text += more
    if not text.endswith(b"\n"):
        return False
    wanted = json.loads(text)
    pid = os.fork()
    os.setpgid(pid, wanted["group"] or pid)
    if pid == 0:
        for each in ours:
            each.close()
        _become(wanted, files)
    for file in files:
        os.close(file)
    with suppress(ConnectionError):
        client.sendall(b"%d" % pid)
    return True


if __name__ == "__main__":
    for name in _IMPORTS:
        import_module(name)
    _serve(socket.socket(fileno=int(sys.argv[1])))
