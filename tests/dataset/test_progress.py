"""Long work says how far it has come, at a sane rate; short work says nothing."""

import re
import time
from itertools import count
from pathlib import Path

import pytest

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.progress import SECONDS_BETWEEN_LINES, Progress
from phi_assets.dataset.samples.prepare import prepare_split
from tests.dataset.shards import make_rows, raw_split

EVERY = 0.1


def work(progress: Progress, lines: list[str], wanted: int, rows: int = 1000, size: int = 3_000_000) -> int:
    """Advance until there are so many lines; returns how often that was."""
    for number in count(1):
        time.sleep(EVERY / 10)
        progress.advance(rows, size)
        if len(lines) >= wanted:
            return number
    raise AssertionError


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_a_line_has_rows_share_rates_and_the_time_that_is_left() -> None:
    lines: list[str] = []
    began = time.perf_counter()
    with Progress("train_sft", 2_000_000, lines.append, EVERY) as progress:
        steps = work(progress, lines, wanted=3)
        elapsed = time.perf_counter() - began
    assert len(lines) == 3
    pattern = (
        r"train_sft: ([\d,]+) of 2,000,000 rows \((\d+) %\), ([\d.]+)(k?) rows/s, ([\d,.]+) MB/s,"
        r" about ((?:\d+:)?\d\d:\d\d) left"
    )
    found = [re.fullmatch(pattern, line) for line in lines]
    assert all(found), lines
    last = found[-1]
    assert last is not None
    rows = number(last[1])
    assert rows == 1000 * steps
    assert int(last[2]) == round(rows / 20_000)
    seconds = sum(int(part) * 60**place for place, part in enumerate(reversed(last[6].split(":"))))
    rate = number(last[3]) * (1000 if last[4] else 1)
    # What is said is what has been measured, as far as one can tell from outside.
    assert number(last[5]) >= 0.99 * 3 * steps / elapsed
    assert seconds == pytest.approx((2_000_000 - rows) / rate, rel=0.2, abs=2)


def test_lines_come_at_a_steady_rate_however_often_rows_do() -> None:
    lines: list[str] = []
    began = time.perf_counter()
    with Progress("train_sft", 10_000_000, lines.append, EVERY) as progress:
        steps = 0
        while len(lines) < 4:
            progress.advance(1, 1)
            steps += 1
        elapsed = time.perf_counter() - began
    assert steps > 100
    assert len(lines) <= elapsed / EVERY


def test_work_of_unknown_length_has_no_end() -> None:
    lines: list[str] = []
    with Progress("Converting rows.jsonl", None, lines.append, EVERY) as progress:
        work(progress, lines, wanted=1)
    assert re.fullmatch(r"Converting rows\.jsonl: [\d,]+ rows, [\d.]+k? rows/s, [\d,.]+ MB/s", lines[0])


def test_short_work_is_silent(tmp_path: Path) -> None:
    lines: list[str] = []
    with Progress("train_sft", 10, lines.append) as progress:
        for _ in range(10):
            progress.advance(1, 1)
    with Progress("train_sft", 0, lines.append):
        pass
    assert lines == []
    assert SECONDS_BETWEEN_LINES >= 5
    prepare_split(raw_split(tmp_path, make_rows(50)), SampleSection(), ContractSection(), tmp_path, lines.append)
    (line,) = lines
    assert line.startswith("train_sft: 2 of 50 rows sampled, 2 in train_sft, 0 in quarantine; tokens ")
