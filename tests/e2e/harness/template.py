"""A process with the seconds of imports behind it, of which code servers and daemons are forked.

`python -m tests.e2e.harness.template` answers each line that it reads, a `Fork` as JSON, with the id of a process. It
ends with whoever asks it.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from phi_assets.config.settings import PROJECT_ROOT
from tests.e2e.harness.processes import Forked

_IMPORTS = (
    "tests.e2e.harness.code_server",
    "tests.e2e.harness.daemon",
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
    template = _template()
    assert template.stdin is not None
    assert template.stdout is not None
    wanted = Fork(module, [*arguments], {**env}, str(log), group)
    template.stdin.write(json.dumps(asdict(wanted)) + "\n")
    template.stdin.flush()
    return Forked(int(template.stdout.readline()))


@cache
def _template() -> "subprocess.Popen[str]":
    """The one of this process."""
    # Dagster reads it when it is imported.
    env = {**os.environ, "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1"}
    command = [sys.executable, "-m", "tests.e2e.harness.template"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=env, stdin=pipe, stdout=pipe, text=True)
    atexit.register(process.communicate)
    return process


def _become(wanted: dict[str, Any]) -> NoReturn:
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
        import_module(wanted["module"]).run()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def _serve() -> None:
    # Nobody waits for them here.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        os.setpgid(pid, wanted["group"] or pid)
        if pid == 0:
            _become(wanted)
        print(pid, flush=True)


if __name__ == "__main__":
    for name in _IMPORTS:
        import_module(name)
    _serve()
