"""Both workers end at about the same time: test files start in the order of the seconds that they took, longest first.

The seconds are in `tests/durations.json`; `--store-durations` writes it anew from a run of everything.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

_FILE = Path(__file__).with_name("durations.json")
_UNKNOWN_SECONDS = 5.0
"""A file that is new is started early rather than late."""
_WORTH_TELLING_SECONDS = 1.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--store-durations`."""
    parser.addoption("--store-durations", action="store_true", help=f"write {_FILE.name} from what this run takes")


def pytest_configure(config: pytest.Config) -> None:
    """What the tests take is added up in the process that reports it."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Stopwatch(config), "stopwatch")
    # xdist would sort the files by their number of tests.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files keep together, the slowest first, where several workers share them; else the order stays as it is."""
    if hasattr(config, "workerinput"):
        seconds = json.loads(_FILE.read_text(encoding="utf-8"))
        items.sort(key=lambda item: -seconds.get(_file_of(item.nodeid), _UNKNOWN_SECONDS))


class _Stopwatch:
    """Adds up the seconds of each file, and tells those of each folder at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._store = config.getoption("--store-durations")
        self._seconds: Counter[str] = Counter()
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[_file_of(report.nodeid)] += report.duration
        self._tests[_file_of(report.nodeid)] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        folders: Counter[str] = Counter()
        tests: Counter[str] = Counter()
        for file, seconds in self._seconds.items():
            folder = str(Path(file).parent)
            folders[folder] += seconds
            tests[folder] += self._tests[file]
        if sum(folders.values()) < 60:
            return
        terminalreporter.section("seconds by folder, over all workers")
        for folder, seconds in folders.most_common():
            if seconds >= _WORTH_TELLING_SECONDS:
                terminalreporter.write_line(f"{seconds:8.1f} s {tests[folder]:5} tests  {folder}")

    def pytest_sessionfinish(self) -> None:
        if self._store:
            kept = {file: round(seconds, 1) for file, seconds in sorted(self._seconds.items())}
            _FILE.write_text(json.dumps(kept, indent=0) + "\n", encoding="utf-8")


def _file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]
