"""Python in a PID namespace of its own, as in a container that shares everything else with its host, its name too."""

import os
import subprocess
import sys

import pytest

_UNSHARED = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc")


def command(program: str, *arguments: str) -> list[str]:
    """What starts the program there."""
    return [*_UNSHARED, sys.executable, "-c", program, *arguments]


def lines_of(program: str, *arguments: str) -> list[str]:
    """What the program prints there. Where this machine allows no namespaces, the test is skipped, but not in CI."""
    inside = subprocess.run(command(program, *arguments), capture_output=True, text=True, check=False)
    if inside.stderr.startswith("unshare:") and "CI" not in os.environ:
        pytest.skip(f"no namespaces here: {inside.stderr}")
    assert inside.returncode == 0, inside.stderr
    return inside.stdout.splitlines()
