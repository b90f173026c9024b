"""A Docker Engine of its own for the tests, and the image of `phi_assets/deploy` in it.

It needs root and Debian's `docker.io`, and what `.ci/image` has made: there is no registry to take a base from. It has
built the image once, and what is built here begins with those of its layers that are still what the Dockerfile says:
Docker itself compares them.
Containers use the network of the machine.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException
from docker.models.containers import Container

from phi_assets.config.settings import PROJECT_ROOT
from tests.e2e.harness.processes import until

_MADE = PROJECT_ROOT / "build" / "image"
"""By `.ci/image`."""

_IS_HERE = bool(os.geteuid() == 0 and shutil.which("dockerd") and _MADE.exists())

needs_docker = pytest.mark.skipif(
    not _IS_HERE and "CI" not in os.environ,
    reason="no Docker Engine here: install the system's `docker.io` and `debootstrap` and run .ci/image, as root",
)

_MADE_SECONDS = 600
"""`.ci/run` goes on while it is made."""
_START_SECONDS = 60
IMAGE = "phi-assets"


@dataclass(frozen=True)
class Engine:
    """A daemon, the image `phi-assets`, and how long that took to build."""

    url: str
    client: docker.DockerClient
    build_seconds: float

    def run(self, *command: str, **options: Any) -> str:
        """What a command prints in a container of its own."""
        output = self.client.containers.run(IMAGE, list(command), network="host", remove=True, stderr=True, **options)
        return output.decode()

    def container_of(self, tags: Mapping[str, str]) -> Container:
        """The one that executes the run with these tags."""
        return self.client.containers.get(tags["docker/container_id"])


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """A daemon is there with the image of the code as it is; afterwards neither it nor a container of it is left."""
    until(lambda: _MADE.exists() or None, _MADE_SECONDS, "There is no build/image: run .ci/image; it")
    url = f"unix://{folder}/docker.sock"
    arguments = [
        *("--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid", "-H", url),
        # No more of the machine's network is changed than nothing.
        *("--iptables=false", "--bridge=none"),
    ]
    _copy_engine(folder / "data")
    with (folder / "log").open("wb") as log:
        # It does not outlive the tests, however they end. What it mounts nobody else sees, and it goes with it.
        command = ["setpriv", "--pdeathsig=TERM", "unshare", "--mount", "dockerd", *arguments]
        daemon = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        client = until(lambda: _client(url, daemon), _START_SECONDS, f"The daemon does not start, see {folder}/log,")
        yield Engine(url, client, _build(folder, url))
        for container in client.containers.list():
            container.kill()
        client.close()
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()
        shutil.rmtree(folder / "data", ignore_errors=True)


def _client(url: str, daemon: subprocess.Popen[bytes]) -> docker.DockerClient | None:
    assert daemon.poll() is None, f"The daemon ended with exit code {daemon.returncode}"
    try:
        return docker.DockerClient(url, timeout=600)
    except DockerException:
        return None


def _build(folder: Path, url: str) -> float:
    """Seconds that it took, the package's own wheel not counted."""
    context = folder / "wheels"
    shutil.copytree(_MADE / "wheels", context, copy_function=os.link if _same_device(folder) else shutil.copy)
    source = folder / "source"  # not in the checkout, where another test may be reading
    shutil.copytree(PROJECT_ROOT / "phi_assets", source / "phi_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT_ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    _call(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", context, source)
    dockerfile = PROJECT_ROOT / "phi_assets" / "deploy" / "Dockerfile"
    started = time.monotonic()
    options = ("--network", "none", "--build-arg", "BASE=base", "-t", IMAGE, "-f", dockerfile)
    _call("docker", "-H", url, "build", *options, context)
    return time.monotonic() - started


def _copy_engine(data: Path) -> None:
    """The folder of an engine that has the layers: nobody writes to these, so they are links, unlike all else."""
    data.mkdir()
    made = _MADE / "engine"
    (driver,) = (made / "image").iterdir()
    layers = made / driver.name
    _call("cp", "-a", *[path for path in made.iterdir() if path != layers], data)
    _call("cp", "-al" if _same_device(data) else "-a", layers, data)


def _same_device(folder: Path) -> bool:
    return folder.stat().st_dev == _MADE.stat().st_dev


def _call(*command: Any) -> None:
    # The builder that comes with the engine: the other one is a package of its own.
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
