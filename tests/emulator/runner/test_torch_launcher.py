"""The processes of a distributed step: one that fails ends the others, and says why."""

import subprocess
import time
from pathlib import Path

from phi_assets.emulator.runner.steps import distributed, shell_command


def test_one_that_fails_ends_the_others(tmp_path: Path) -> None:
    logs = [tmp_path / f"{rank}.txt" for rank in range(4)]
    fails = '[ $RANK = 2 ] && sleep 0.5 && echo "ERROR: luck" && exit 7'
    line = f'echo "$RANK $NODE_RANK $LOCAL_RANK $WORLD_SIZE"; {fails}; sleep 60'
    begun = time.monotonic()
    command = distributed(shell_command(line), 2, logs)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert time.monotonic() - begun < 30
    assert (done.returncode, done.stdout.splitlines()[-1]) == (7, "ERROR: process 2 of 4 failed: luck")
    assert [log.read_text().splitlines()[0] for log in logs] == ["0 0 0 4", "1 0 1 4", "2 1 0 4", "3 1 1 4"]
