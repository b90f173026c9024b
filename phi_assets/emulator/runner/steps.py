"""One step: a child process in a process group of its own, its log, its metrics, its end."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from phi_assets.emulator.runner import torch_launcher
from phi_assets.processes import ProcessId, inherited

_LOG_TAIL_BYTES = 64 * 1024
_LONGEST_MESSAGE = 2000
_LOOK_SECONDS = 0.05
_KILLED_LOOK_SECONDS = 0.005
_ERROR_PREFIX = "ERROR: "


def step_environment(
    environment: Mapping[str, str], *, run_id: str, root_run_id: str, metrics: Path, extra: Mapping[str, str]
) -> dict[str, str]:
    """The variables of a step's process, which is started by one that has `environment`."""
    kept = inherited(environment)
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # without byte code every step would compile its libraries anew
    project = str(Path(__file__).resolve().parents[3])
    # A command says `python` and means the one that this is.
    programs = [str(Path(sys.executable).parent), *filter(None, kept.get("PATH", os.defpath).split(os.pathsep))]
    search = [project, *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return (
        kept
        | {
            "AZUREML_RUN_ID": run_id,
            "AZUREML_ROOT_RUN_ID": root_run_id,
            "PHI_METRICS_FILE": str(metrics),
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join(dict.fromkeys(programs)),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(search)),
        }
        | dict(extra)
    )


def shell_command(line: str) -> list[str]:
    """The arguments of the process that runs the line, as the service does: in a shell.

    One that is a single program is that program; the shell is gone by then.
    """
    return [shutil.which("bash") or "/bin/sh", "-c", line]


def distributed(command: Sequence[str], per_node: int, logs: Sequence[Path]) -> list[str]:
    """The arguments of the process that runs the command once for each of the logs, `per_node` of them on a node."""
    return [sys.executable, "-m", torch_launcher.__name__, str(per_node), *map(str, logs), "--", *command]


def working_directory(destination: Path, code: Path | None) -> Path:
    """The step's empty working directory, or a copy of the component's `code` there."""
    destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if code is None:
        destination.mkdir(mode=0o700, exist_ok=True)
    else:
        shutil.copytree(code, destination, dirs_exist_ok=True)
    return destination


class StepProcess:
    """A started step. It leads a process group, so that what it starts can be ended with it."""

    def __init__(self, command: Sequence[str], directory: Path, environment: Mapping[str, str], log: Path):
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.id = ProcessId.of(self._process.pid)

    def wait(self) -> int:
        """Exit code once the step has ended and nothing of its process group is left; negative: ended by a signal."""
        code = self._process.wait()
        end_group(self.id, grace_seconds=0)
        return code

    def stop(self, grace_seconds: float) -> None:
        """Ends the process group: politely first, after `grace_seconds` by force."""
        end_group(self.id, grace_seconds)


def end_group(leader: ProcessId, grace_seconds: float) -> int:
    """Ends all processes of the group that `leader` leads or led, and returns how many there were; none is left then.

    Does nothing if the number has gone to another process in the meantime.
    """
    members = _group(leader)
    if members:
        _signal(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    # Looked at from outside: waiting for a child here would take its exit code away from `StepProcess.wait`.
    while _group(leader):
        if time.monotonic() >= deadline:
            # A killed process goes on until it has given its memory back.
            _signal(leader, signal.SIGKILL)
            time.sleep(_KILLED_LOOK_SECONDS)
        else:
            time.sleep(_LOOK_SECONDS)
    return len(members)


def failure_message(log: Path, code: int) -> str:
    """What went wrong, for people: the step's own `ERROR: ` line if it wrote one, else the last line of its log."""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    stated = [line for line in lines if line.startswith(_ERROR_PREFIX)]
    reason = stated[-1].removeprefix(_ERROR_PREFIX) if stated else lines[-1] if lines else "it wrote nothing to its log"
    how = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{reason[:_LONGEST_MESSAGE]} ({how})"


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")


def _group(leader: ProcessId) -> list[int]:
    """Numbers of the living processes of the group."""
    # None: the number stays taken while its group has members, so whoever is in the group belongs to the step.
    if leader.has_number() is False:
        return []
    members: list[int] = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == leader.pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                members.append(pid)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return members


def _signal(leader: ProcessId, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, number)
