"""What a command says to people while its run goes on: a line for each asset, and what takes long meanwhile."""

import logging
import os
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from phi_assets.changes import NO_CHANGE, NO_EARLIER
from phi_assets.graph.automation.failures import reason_of

if TYPE_CHECKING:
    from rich.console import Console

_LONG_SECONDS = 3.0
"""What a step says is shown once it has taken so long."""
_BETWEEN_LINES_SECONDS = 10.0
"""Lines of progress come no closer, where they stay and are not overwritten."""


@dataclass
class _Step:
    """What is known of a step that is at work."""

    began: float = field(default_factory=time.monotonic)
    said: float = 0.0
    """When a line of its progress was shown last."""
    materialized: list[Any] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class _PeopleHandler(logging.Handler):
    """Tells of each asset when it is made, of a check that did not pass, and of nothing that did not happen."""

    def __init__(self, *, of_assets: bool) -> None:
        super().__init__()
        self._of_assets = of_assets
        """Whether the job makes assets. What another job does is in the lines of its steps, and in nothing else."""
        self._console = _console()
        self._steps: dict[str, _Step] = {}
        self._status: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        event: dg.DagsterEvent | None = meta.get("dagster_event")
        name = str(meta.get("step_key") or "")
        if event is not None:
            self._tell(event, name)
        elif record.levelno >= logging.INFO and (not name or name in self._steps):
            # Of a step that has not begun, Dagster says which others are to blame: those have said why.
            self._pass_on(name or str(meta.get("job_name")), meta.get("orig_message") or record.getMessage(), record)

    def _tell(self, event: dg.DagsterEvent, name: str) -> None:
        kind = event.event_type
        if kind is dg.DagsterEventType.STEP_START:
            self._steps[name] = _Step()
        elif kind is dg.DagsterEventType.ASSET_MATERIALIZATION and name in self._steps:
            self._steps[name].materialized.append(event.step_materialization_data.materialization)
        elif kind is dg.DagsterEventType.ASSET_OBSERVATION:
            self._tell_of_job(event)
        elif kind is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self._tell_of_check(event.asset_check_evaluation_data)
        elif event.is_step_success:
            self._tell_of_assets(self._steps.pop(name, _Step()))
        elif event.is_step_failure:
            self._end_status()
            step = self._steps.pop(name, _Step())
            # The whole of it stands at the end.
            first_line = reason_of(event.step_failure_data).partition("\n")[0]
            self._print(_last(name), "failed", step.seconds, first_line, "red")
        elif event.is_run_failure or event.event_type is dg.DagsterEventType.RUN_SUCCESS:
            self._end_status()

    def _tell_of_assets(self, step: _Step) -> None:
        self._end_status()
        for made in step.materialized:
            metadata = {key: value.value for key, value in made.metadata.items()}
            action, reason = str(metadata.get("action") or "done"), str(metadata.get("reason") or "")
            changed = "" if action == "reused" else str(metadata.get("changed") or "")
            why = f"{reason} Changed: {changed}." if changed not in ("", NO_CHANGE, NO_EARLIER) else reason
            self._print(made.asset_key.path[-1], action, step.seconds, why.strip(), "green")

    def _tell_of_job(self, event: dg.DagsterEvent) -> None:
        observation = event.asset_observation_data.asset_observation
        if "job_name" in observation.metadata and observation.metadata["action"].value != "reused":
            job, studio = (observation.metadata[key].value for key in ("job_name", "studio"))
            self._end_status()
            self._print(observation.asset_key.path[-1], "job", None, f"{job}: {studio}", "")

    def _tell_of_check(self, evaluation: Any) -> None:
        if not evaluation.passed:
            is_error = evaluation.severity is dg.AssetCheckSeverity.ERROR
            description = (evaluation.description or "it did not pass").splitlines()
            more = f" (and {len(description) - 1} more)" if len(description) > 1 else ""
            words = f"{evaluation.check_name}: {description[0]}{more}"
            verdict, style = ("check failed", "red") if is_error else ("warning", "yellow")
            self._print(evaluation.asset_key.path[-1], verdict, None, words, style)

    def _pass_on(self, name: str, text: str, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            style = "yellow" if record.levelno == logging.WARNING else "red"
            self._print(_last(name), "warning" if style == "yellow" else "error", None, text, style)
        elif not self._of_assets:
            self._print(_last(name), "", None, text, "")
        elif (step := self._steps.get(name)) is not None and step.seconds >= _LONG_SECONDS:
            self._show_progress(_last(name), text.strip(), step)

    def _show_progress(self, asset: str, text: str, step: _Step) -> None:
        """One line that changes, on a terminal; elsewhere a line now and then."""
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status("")
                self._status.start()
            self._status.update(_escaped(f"{asset} {step.seconds:.0f} s: {text}"))
        elif time.monotonic() - step.said >= _BETWEEN_LINES_SECONDS:
            step.said = time.monotonic()
            self._print(asset, "...", step.seconds, text, "dim")

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _print(self, asset: str, action: str, seconds: float | None, text: str, style: str) -> None:
        now = datetime.now().strftime("%H:%M:%S")
        took = "" if seconds is None else f"{seconds:.1f} s"
        # Uncut and unbroken: names and links stay whole, and can be clicked.
        line = f"{now} {asset:<22} {action:<10} {took:>7}  {text}".rstrip()
        self._console.print(line, style=style, markup=False, soft_wrap=True)


def _console() -> "Console":
    from rich.console import Console

    # While a step runs, Dagster sends stderr through a file that another process shows; what comes at the very end, the
    # reason of a failure, may be lost on that way.
    stderr = os.fdopen(os.dup(sys.__stderr__.fileno()), "w", encoding="utf-8") if sys.__stderr__ else None
    return Console(file=stderr, stderr=True, highlight=False)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _last(step: str) -> str:
    """The recipe stands before the last two underscores, and is the same for all of a command's run."""
    return step.rpartition("__")[2]


def _people_logger(context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("phi_assets.console", level=logging.DEBUG)
    job = context.job_def
    logger.addHandler(_PeopleHandler(of_assets=job is None or bool(set(job.asset_layer.selected_asset_keys))))
    return logger


calm_console = dg.LoggerDefinition(
    _people_logger, description="What became of each asset, how long it took and why; what takes long, meanwhile"
)
