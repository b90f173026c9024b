"""How far long work has come, as lines of a log."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from types import TracebackType

Log = Callable[[str], None]

SECONDS_BETWEEN_LINES = 5.0


class _LogFile:
    """What `tqdm` takes for a terminal: each redrawn line becomes a line of the log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, text: str) -> None:
        if line := text.strip("\r\n\x1b[A "):
            self._log(line)

    def flush(self) -> None:
        pass


class Progress:
    """Says how many rows and bytes have been worked off, how fast, and how long the rest takes.

    A line comes every five seconds, so work that is over sooner says nothing.
    """

    def __init__(self, what: str, rows: int | None, log: Log, every_seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self._bytes = 0
        counted = "{n:,} rows" if rows is None else "{n:,} of {total:,} rows ({percentage:.0f} %)"
        rest = "" if rows is None else ", about {remaining} left"
        self._bar: tqdm[Any] = tqdm(
            total=rows,
            desc=what,
            unit=" rows",
            unit_scale=True,
            mininterval=every_seconds,
            maxinterval=every_seconds,
            delay=every_seconds,
            leave=False,
            file=_LogFile(log),  # type: ignore[arg-type]
            bar_format="{desc}: " + counted + ", {rate_fmt}{postfix}" + rest,
        )

    def advance(self, rows: int, size: int) -> None:
        """So many more rows, and bytes of whatever the work is measured in, are done."""
        self._bytes += size
        elapsed = self._bar.format_dict["elapsed"]
        if elapsed > 0:
            self._bar.set_postfix_str(f"{self._bytes / elapsed / 1e6:,.1f} MB/s", refresh=False)
        self._bar.update(rows)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self._bar.close()
