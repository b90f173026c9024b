"""Which states end a job, and which lines of its log are worth showing meanwhile."""

import pytest

from phi_assets.azureml.status import JobStatus
from phi_assets.azureml.waiting import LOSS_LINE


@pytest.mark.parametrize(
    "text",
    [
        "NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Running", "Finalizing", "CancelRequested",
        "NotResponding", "Paused", "Unknown", "SomethingNew", "None", "",
    ],
)  # fmt: skip
def test_everything_but_three_states_is_waited_for(text: str) -> None:
    assert JobStatus(text).is_active


@pytest.mark.parametrize("text", ["Completed", "Failed", "Canceled", "canceled", "COMPLETED"])
def test_three_states_are_the_end(text: str) -> None:
    assert JobStatus(text).is_terminal


def test_other_spellings_are_understood_and_new_states_are_unknown() -> None:
    assert JobStatus("not_started") is JobStatus.NOT_STARTED
    assert JobStatus("SomethingNew") is JobStatus.UNKNOWN


@pytest.mark.parametrize(
    "line",
    [
        b"step 10/50: epoch 0.40, loss 1.2345, learning rate 0.001",
        b"{'loss': 3.0, 'step': 0}",
        b"Evaluation loss: 1.4110 before, 0.7542 after",
        b'"eval_loss": 0.7',
        b"train_loss=nan",
    ],
)
def test_lines_about_the_loss_are_shown(line: bytes) -> None:
    assert LOSS_LINE.search(line)


@pytest.mark.parametrize(
    "line", [b"loading the loss function", b"no loss of data", b"glossary 1", b"lossless 2", b"Downloading: 50%"]
)
def test_other_lines_of_a_steps_log_are_not(line: bytes) -> None:
    assert not LOSS_LINE.search(line)
