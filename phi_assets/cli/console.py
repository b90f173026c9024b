"""A console logger for people: what each asset says and how long it took, without the engine's own events."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import dagster as dg

from phi_assets.graph.automation.failures import reason_of


@contextmanager
def own_stderr() -> Iterator[Callable[[str], None]]:
    """A function that prints a line to the terminal's stderr, wherever Dagster has sent that of this process."""
    with os.fdopen(os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2), "w", encoding="utf-8") as stderr:

        def say(text: str) -> None:
            print(text, file=stderr, flush=True)

        yield say


class _PeopleHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        # While a step runs, Dagster sends stderr through a file that another process shows; what comes at the very end,
        # the reason of a failure, may be lost on that way.
        stderr = os.fdopen(os.dup(sys.__stderr__.fileno()), "w", encoding="utf-8") if sys.__stderr__ else None
        self._console = Console(file=stderr, stderr=True, highlight=False)
        self._check_steps: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None and record.levelno >= logging.INFO:
            text = meta.get("orig_message") or record.getMessage()
            style = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}.get(record.levelno, "")
            self._print(meta.get("step_key") or meta.get("job_name"), text, style)
        elif event is None:
            return
        elif event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self._print_check(event)
        elif event.is_step_success and event.step_key not in self._check_steps:
            self._print(event.step_key, f"done in {event.event_specific_data.duration_ms / 1000:.1f} s", "green")
        elif event.is_step_failure:
            self._print(event.step_key, reason_of(event.step_failure_data, with_stack=True), "red")

    def _print_check(self, event: dg.DagsterEvent) -> None:
        evaluation = event.asset_check_evaluation_data
        self._check_steps.add(event.step_key or "")
        verdict, style = ("passed", "green") if evaluation.passed else ("did not pass", "yellow")
        self._print(evaluation.asset_key.path[-1], f"check {evaluation.check_name} {verdict}", style)

    def _print(self, step: str | None, text: str, style: str) -> None:
        time = datetime.now().strftime("%H:%M:%S")
        # The recipe stands before the last two underscores, and is the same for all of a command's run.
        asset = (step or "").rpartition("__")[2]
        self._console.print(time, f"{asset:<22}", text, style=style, markup=False, soft_wrap=True)


def _people_logger(_: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("phi_assets.console", level=logging.DEBUG)
    logger.addHandler(_PeopleHandler())
    return logger


calm_console = dg.LoggerDefinition(_people_logger, description="Messages of assets and the time each step took")
