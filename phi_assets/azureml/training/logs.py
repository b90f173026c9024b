"""What the steps of a job print, passed on while they run, in pieces that do not grow with the log."""

import io
import itertools
import re
from collections.abc import Iterator

from phi_assets.azureml.connection.retry import Log
from phi_assets.azureml.training.history import Run, RunHistory

PIECE_BYTES = 1 << 20
PIECES_PER_LOOK = 16
"""How much of one log is read before the job's state is asked for again."""

_FOLDER = "user_logs/"
_STEP_LOG = re.compile(rf"^{_FOLDER}std_log.*\.txt$")
# The one that the service itself shows where a step runs in several processes.
_FIRST_PROCESS = re.compile(r"^user_logs/std_log[\D]*[0]*(?:_ps)?\.txt$")
_LOSS = re.compile(r"(?:\b|_)loss\b['\"]?\s*[=:]?\s*['\"]?-?(?:\d|nan|inf)", re.IGNORECASE)


class StepLogs:
    """Follows the logs of a job's steps: `output` gets every line once, `log` the lines about the loss.

    A line is passed on when it is complete. One that is longer than a piece is cut; of a progress bar, which rewrites
    its line with carriage returns, only the last state is a line. Each begins with the step's name.
    """

    def __init__(self, history: RunHistory, log: Log, output: Log | None = None) -> None:
        self._history = history
        self._log = log
        self._output = output
        self._offsets: dict[tuple[str, str], int] = {}
        """Bytes that have been passed on, by run and name of the log."""

    def read(self, step: Run, *, to_end: bool = False, flush: bool = False) -> None:
        """Passes on what is new: all of it `to_end`, else as much as one look may take.

        `flush` also passes on a last line without an end, which is to be done when nothing can follow any more.
        """
        logs = self._history.details(step.run_id).log_files or {}
        names = sorted((name for name in logs if _STEP_LOG.match(name)), key=_order)
        for number, name in enumerate(names if self._output is not None else names[:1]):
            label = step.label if number == 0 else f"{step.label} {name.removeprefix(_FOLDER)}"
            for line in self._lines((step.run_id, name), logs[name], to_end, flush):
                if self._output is not None:
                    self._output(f"{label} | {line}")
                if number == 0 and _LOSS.search(line):
                    self._log(f"  {label} | {line}")

    def _lines(self, key: tuple[str, str], url: str, to_end: bool, flush: bool) -> Iterator[str]:
        for _ in itertools.count() if to_end else range(PIECES_PER_LOOK):
            offset = self._offsets.get(key, 0)
            piece = self._history.log_piece(url, offset, PIECE_BYTES)
            is_last = len(piece) < PIECE_BYTES
            end = piece.rfind(b"\n") + 1
            skipped = 0
            if not is_last and not end:
                # No end of line in sight: what a progress bar has overwritten is of no use, anything else is cut here.
                skipped = piece.rfind(b"\r", 0, -1) + 1
                end = skipped or len(piece)
            elif is_last and flush:
                end = len(piece)
            self._offsets[key] = offset + end
            for line in io.BytesIO(piece[skipped:end]):
                yield _last_state(line)
            if is_last:
                return


def loss_lines(history: RunHistory, job_name: str) -> list[str]:
    """The lines about a loss that the steps of an ended job have written.

    Raises:
        UNREADABLE: run history or a log cannot be read.
    """
    lines: list[str] = []
    logs = StepLogs(history, lambda line: lines.append(line.strip()))
    for step in history.leaves(job_name):
        logs.read(step, to_end=True, flush=True)
    return lines


def _order(name: str) -> tuple[bool, str]:
    return (_FIRST_PROCESS.match(name) is None, name)


def _last_state(line: bytes) -> str:
    return line.rstrip(b"\r\n").rsplit(b"\r", 1)[-1].decode("utf-8", "replace")
