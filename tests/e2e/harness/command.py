"""`python -m phi_assets` without the seconds of imports: forked from a server that has done them already."""

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from phi_assets.config.settings import PROJECT_ROOT
from tests.e2e.harness import worker


def preload() -> None:
    """The server imports from now on."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__, worker.IMPORTS])
    forkserver.ensure_running()


def start(env: Mapping[str, str], log: Path, *arguments: str) -> BaseProcess:
    """The command, in a process of its own with that environment; what it prints is added to `log`."""
    process = multiprocessing.get_context("forkserver").Process(target=_run, args=(dict(env), log, arguments))
    process.start()
    return process


def _run(env: dict[str, str], log: Path, arguments: tuple[str, ...]) -> None:
    from phi_assets.cli.commands import main

    os.environ.clear()
    os.environ.update(env)
    os.chdir(PROJECT_ROOT)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    main(list(arguments), prog_name="python -m phi_assets")
