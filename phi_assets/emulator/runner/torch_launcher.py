"""Program: the processes of a step whose `distribution` is PyTorch, all on this machine.

Arguments: how many run on a node, then one log file for each of all processes, `--`, and the command of each.

Each gets what the service sets for `torch.distributed` (`env://`)
(https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu). One that fails ends the others, and
the exit code is its own.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.05


def variables(rank: int, per_node: int, count: int, port: int) -> dict[str, str]:
    """What the process of this rank reads of where it stands."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "RANK": str(rank),
        "NODE_RANK": str(rank // per_node),
        "LOCAL_RANK": str(rank % per_node),
        "LOCAL_WORLD_SIZE": str(per_node),
    }


def main(arguments: Sequence[str]) -> int:
    """The exit code of the first process that has failed, else 0."""
    end = arguments.index("--")
    per_node, logs, command = int(arguments[0]), arguments[1:end], arguments[end + 1 :]
    # Whoever ends the step ends its whole group; this process tells how that went.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = {}
    for rank, log in enumerate(logs):
        with Path(log).open("ab") as output:
            environment = os.environ | variables(rank, per_node, len(logs), port)
            processes[rank] = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    print(f"{len(logs)} processes, {per_node} on a node", flush=True)
    while (failed := _failed(processes)) is None and any(process.poll() is None for process in processes.values()):
        time.sleep(_LOOK_SECONDS)
    if failed is None:
        return 0
    _end(processes)
    code = processes[failed].returncode
    lines = Path(logs[failed]).read_text(encoding="utf-8", errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing to its log")
    print(f"ERROR: process {failed} of {len(logs)} failed: {said.removeprefix('ERROR: ')}", flush=True)
    return code if code > 0 else 128 - code


def _failed(processes: Mapping[int, subprocess.Popen[bytes]]) -> int | None:
    return next((rank for rank, process in processes.items() if process.poll()), None)


def _end(processes: Mapping[int, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes.values():
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
