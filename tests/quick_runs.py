"""Runs of the graph without what nobody looks at in a test, and without doing again what other runs have done.

A run draws the lengths of four samples, of which most are those of other runs: a sixth of its time. Dagster writes each
event to the console as well, and has a Python process watch each `tail` by which it does so for what steps print.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster._core.execution import compute_logs, context_creation_job
from dagster._loggers import colored_console_logger

from phi_assets.dataset.reports.report import Profile
from phi_assets.graph.dataset import metadata
from phi_assets.graph.dataset.pictures import token_histogram
from tests import quick_sqlite

DRAWN_VARIABLE = "PHI_TEST_DRAWN"
"""The folder of the pictures that any process of this session has drawn."""


def use() -> None:
    """From now on this process runs the graph so."""
    quick_sqlite.use()
    metadata.token_histogram = _drawn_once
    compute_logs.execute_posix_tail = _tail
    context_creation_job.default_system_loggers = _as_shipped  # type: ignore[attr-defined]


def use_sdk() -> None:
    """From now on the SDK, once it is imported, does not search the source of all its callers before it says nothing.

    It would look for whether to say that a class is experimental, which is never said.
    """
    from azure.ai.ml._utils import _experimental

    _experimental._should_skip_warning = lambda: True


def _drawn_once(profile: Profile) -> str:
    if DRAWN_VARIABLE not in os.environ:
        return token_histogram(profile)
    kept = Path(os.environ[DRAWN_VARIABLE]) / hashlib.sha256(profile.model_dump_json().encode()).hexdigest()
    if not kept.exists():
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_text(token_histogram(profile), encoding="utf-8")
        partial.rename(kept)
    return kept.read_text(encoding="utf-8")


@contextmanager
def _tail(path: str, stream: Any) -> Iterator[tuple[int, None]]:
    """The file's content, as it grows, goes to the stream until this process has gone."""
    command = ["tail", f"--pid={os.getpid()}", "-F", "-c", "+0", path]
    with subprocess.Popen(command, stdout=stream if compute_logs._fileno(stream) else None) as tail:
        try:
            yield tail.pid, None
        finally:
            # Whatever it inherited may keep a softer signal from it.
            tail.kill()


def _as_shipped(_: object) -> list[tuple[Any, dict[str, str]]]:
    """Dagster's console has what the shipped instance settings leave there, whatever an instance of a test says."""
    return [(colored_console_logger, {"name": "dagster", "log_level": "INFO"})]
