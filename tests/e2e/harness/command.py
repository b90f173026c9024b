"""`python -m phi_assets` without the seconds of imports: forked from a process that has done them already."""

import multiprocessing
import os
import tempfile
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

from phi_assets.config.settings import PROJECT_ROOT
from tests.e2e.harness import template


def run(env: Mapping[str, str], *arguments: str) -> CompletedProcess[str]:
    """The command has ended, and what it has printed is known."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        process = start(env, stdout, *arguments, errors=stderr)
        process.join()
        printed = stdout.read_text(encoding="utf-8"), stderr.read_text(encoding="utf-8")
    assert process.exitcode is not None
    return CompletedProcess(arguments, process.exitcode, *printed)


def start(env: Mapping[str, str], log: Path, *arguments: str, errors: Path | None = None) -> BaseProcess:
    """The command, in a process of its own with that environment; what it prints is added to `log`."""
    template.serve_forks()
    process = multiprocessing.get_context("forkserver").Process(
        target=_run, args=(dict(env), log, errors or log, arguments)
    )
    process.start()
    return process


def _run(env: dict[str, str], log: Path, errors: Path, arguments: tuple[str, ...]) -> None:
    from phi_assets.cli.commands import main

    os.environ.clear()
    os.environ.update(env)
    os.chdir(PROJECT_ROOT)
    for stream, file in ((1, log), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    main(list(arguments), prog_name="python -m phi_assets")
