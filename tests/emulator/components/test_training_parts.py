"""The order of rows, padding, and what is recorded of the losses."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers.trainer_utils import IntervalStrategy

from phi_assets.emulator.components.chat_tokens import IGNORED, Encoded
from phi_assets.emulator.components.token_store import TokenRows, TokenWriter
from phi_assets.emulator.components.training import LengthGroupedOrder, PaddingCollator, StepLog, record_metrics

LENGTHS = np.random.default_rng(3).integers(5, 200, size=203).tolist()


def test_order_is_a_permutation_with_little_padding() -> None:
    order = list(LengthGroupedOrder(LENGTHS, 8, seed=1))
    assert sorted(order) == list(range(203))
    batches = [[LENGTHS[row] for row in order[start : start + 8]] for start in range(0, 203, 8)]
    assert len(batches[-1]) == 3, "the batch that is not full comes last"
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert padded < 1.15 * sum(LENGTHS)
    longest = [max(batch) for batch in batches[:-1]]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def drawn(seed: int, epoch: int) -> list[int]:
        order = LengthGroupedOrder(LENGTHS, 8, seed)
        order.set_epoch(epoch)
        return list(order)

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert drawn(1, 0) != drawn(2, 0)


@pytest.mark.parametrize(("multiple", "width", "expected"), [(1, None, 3), (8, None, 8), (1, 6, 6)])
def test_padding(multiple: int, width: int | None, expected: int) -> None:
    rows = [
        {"input_ids": np.array([7, 8, 9]), "labels": np.array([IGNORED, 8, 9])},
        {"input_ids": np.array([5]), "labels": np.array([IGNORED])},
    ]
    batch = PaddingCollator(1, multiple=multiple, width=width)(rows)
    assert batch["input_ids"].tolist() == [[7, 8, 9, *[1] * (expected - 3)], [5, *[1] * (expected - 1)]]
    assert batch["labels"].tolist() == [[IGNORED, 8, 9, *[IGNORED] * (expected - 3)], [IGNORED] * expected]
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 1]


def test_tokens_survive_the_file(tmp_path: Path) -> None:
    writer = TokenWriter(tmp_path / "rows.parquet")
    writer.write([Encoded([1, 2, 3], [IGNORED, 2, 3]), Encoded([4], [IGNORED])])
    writer.write([Encoded([5, 6], [IGNORED, 6])])
    writer.close()
    rows = TokenRows(tmp_path / "rows.parquet")
    assert rows.lengths == [3, 1, 2]
    assert rows[2]["input_ids"].tolist() == [5, 6]
    assert rows[0]["labels"].tolist() == [IGNORED, 2, 3]


def logged(strategy: IntervalStrategy, file: Path, monkeypatch: pytest.MonkeyPatch, *logs: Any) -> list[Any]:
    """What is recorded of what Trainer logs at steps 10, 10, 20, 30, ..."""
    monkeypatch.setenv("PHI_METRICS_FILE", str(file))
    callback, arguments = StepLog(), SimpleNamespace(logging_strategy=strategy)
    for number, values in enumerate(logs):
        callback.on_log(arguments, SimpleNamespace(global_step=10 * max(number, 1)), None, values)
    points = [json.loads(line) for line in file.read_text().splitlines()]
    return [(point["name"], point["value"], point["step"]) for point in points]


def test_what_is_no_number_is_printed_and_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = ({"loss": 2.123456, "epoch": 0.5}, {"epoch": 0.5, "eval_loss": math.nan}, {"loss": math.inf})
    assert logged(IntervalStrategy.STEPS, tmp_path / "steps", monkeypatch, *logs) == [
        ("loss", 2.123456, 10),
        ("epoch", 0.5, 10),
        ("loss", math.inf, 20),
    ]
    assert capsys.readouterr().out.splitlines() == [
        "{'loss': 2.123, 'epoch': 0.5}",
        "{'epoch': 0.5, 'eval_loss': nan}",
        "{'loss': inf}",
    ]
    by_epochs = logged(IntervalStrategy.EPOCH, tmp_path / "epochs", monkeypatch, {"loss": 2.0}, {"loss": 1.0})
    assert by_epochs == [("loss", 2.0, None), ("loss", 1.0, None)]


def test_metrics_are_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("PHI_METRICS_FILE", str(file))
    record_metrics({"loss": 1.5, "learning_rate": 0.1}, 10)
    record_metrics({"loss": 1.0}, 20)
    points = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(point["name"], point["value"], point["step"]) for point in points] == [
        ("loss", 1.5, 10),
        ("learning_rate", 0.1, 10),
        ("loss", 1.0, 20),
    ]
    assert all(point["timestamp"] > 1.6e12 for point in points), "milliseconds"
