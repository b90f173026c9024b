"""What tests take, measured, and what follows from it.

`tests/durations.json` has the seconds of each file and the names of the tests that are slow; `--store-durations` writes
it anew from a run of everything. Files start in the order of their seconds, longest first, so that all workers end at
about the same time. Slow tests get the marker `slow`.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

_FILE = Path(__file__).with_name("durations.json")
_QUICK_SHARE = 0.803
"""So many of the tests are quick: those that cost least."""
_WAITED = 0.3
"""What a second costs in which a test waits: so much of it the processes work that it waits for."""
_BY_HAND = ("slow", "by hand")
"""Property of a test whose file says that it is slow."""
_UNKNOWN_SECONDS = 5.0
"""A file that is new is started early rather than late."""
_WORTH_TELLING_SECONDS = 1.0
_WORTH_A_SUMMARY_SECONDS = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--store-durations`."""
    parser.addoption("--store-durations", action="store_true", help=f"write {_FILE.name} from what this run takes")


def pytest_configure(config: pytest.Config) -> None:
    """What a test costs is measured where it runs, and added up in the process that reports it."""
    config.pluginmanager.register(_Meter(), "meter")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Stopwatch(config), "stopwatch")
    # xdist would sort the files by their number of tests.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests are marked before any are chosen by markers; for several workers, the slowest files come first."""
    known = json.loads(_FILE.read_text(encoding="utf-8"))
    slow = set(known["slow"])
    for item in items:
        if item.get_closest_marker("slow"):
            item.user_properties.append(_BY_HAND)
        elif item.nodeid in slow:
            item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -known["files"].get(_file_of(item.nodeid), _UNKNOWN_SECONDS))


class _Meter:
    """Notes in each report what it cost: processor time, that of children that have ended as well, and waiting."""

    def __init__(self) -> None:
        self._before = _processor_seconds()

    def pytest_runtest_logstart(self) -> None:
        self._before = _processor_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        now = _processor_seconds()
        worked = now - self._before
        self._before = now
        vars(report)["cost"] = worked + _WAITED * max(0.0, report.duration - worked)
        return report


def _processor_seconds() -> float:
    return sum(os.times()[:4])


class _Stopwatch:
    """Adds up what tests take, and tells the seconds of each folder at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._store = config.getoption("--store-durations")
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._own: defaultdict[str, float] = defaultdict(float)
        self._shared: defaultdict[str, float] = defaultdict(float)
        self._by_hand: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if _BY_HAND in map(tuple, report.user_properties):
            self._by_hand.add(report.nodeid)
        # A crashed worker's report has none. What ends in a teardown may have been used by many tests.
        cost = getattr(report, "cost", 0.0)
        if report.when == "setup" and cost > _WORTH_TELLING_SECONDS:
            self._shared[_file_of(report.nodeid)] += cost
        elif report.when != "teardown":
            self._own[report.nodeid] += cost

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        folders: defaultdict[str, float] = defaultdict(float)
        tests: Counter[str] = Counter()
        for test, seconds in self._seconds.items():
            folder = str(Path(_file_of(test)).parent)
            folders[folder] += seconds
            tests[folder] += 1
        if sum(folders.values()) < _WORTH_A_SUMMARY_SECONDS:
            return
        terminalreporter.section("seconds by folder, over all workers")
        for folder, seconds in sorted(folders.items(), key=lambda item: -item[1]):
            if seconds >= _WORTH_TELLING_SECONDS:
                terminalreporter.write_line(f"{seconds:8.1f} s {tests[folder]:5} tests  {folder}")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        # A run that was broken off knows of too few tests.
        if not self._store or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        files: defaultdict[str, float] = defaultdict(float)
        for test, seconds in self._seconds.items():
            files[_file_of(test)] += seconds
        kept = {
            "files": {file: round(seconds, 1) for file, seconds in sorted(files.items())},
            "slow": self._slow(),
        }
        _FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")

    def _slow(self) -> list[str]:
        """The tests that cost most beside those that are slow by hand; what a file's share is borne by all alike."""
        tests = Counter(_file_of(test) for test in self._seconds)

        def cost(test: str) -> float:
            return self._own[test] + self._shared[_file_of(test)] / tests[_file_of(test)]

        ranked = sorted(self._seconds, key=lambda test: (test in self._by_hand, cost(test)))
        return sorted(set(ranked[int(len(ranked) * _QUICK_SHARE) :]) - self._by_hand)


def _file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]
